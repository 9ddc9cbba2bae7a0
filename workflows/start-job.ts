/** Starts a job of a VM as a child that outlives its parent's runs: it is never awaited. */
import { ParentClosePolicy, startChild } from '@temporalio/workflow';
import { jobTitles, type JobKind } from '../domain/job.js';
import type { JobRequest, ProtectedItem } from '../domain/protected-item.js';
import { commitFailover } from './commit-failover.js';
import { disableProtection } from './disable-protection.js';
import { enableProtection } from './enable-protection.js';
import { finalizeProtection } from './finalize-protection.js';
import { initialReplication } from './initial-replication.js';
import type { JobInput, Tuning } from './messages.js';
import { plannedFailover } from './planned-failover.js';
import { unplannedFailover } from './unplanned-failover.js';
import { verifyReplica } from './verify-replica.js';
import { resynchronize } from './resynchronize.js';

const jobWorkflows: Record<JobKind, (input: JobInput) => Promise<unknown>> = {
  enableProtection,
  initialReplication,
  finalizeProtection,
  resynchronize,
  plannedFailover,
  unplannedFailover,
  commitFailover,
  disableProtection,
  verifyReplica,
};

/** @param item as it is before the job. */
export async function startJob(item: ProtectedItem, request: JobRequest, tuning: Tuning | undefined): Promise<void> {
  const { vault, vm, host, vmmServer, epoch, nextSequence, activeSide, policy } = item;
  const { jobId, kind, parameters, planRun, holdBefore } = request;
  const tagRequests = item.tagRequests?.filter(({ done }) => !done) ?? [];
  const input: JobInput = {
    id: jobId,
    vault,
    vm,
    host,
    vmmServer,
    epoch,
    nextSequence,
    activeSide,
    policy,
    recoveryPoint: item.latestRecoveryPoint?.id ?? '',
    ...(tagRequests.length > 0 && { tagRequests }),
    ...(parameters && { parameters }),
    ...(planRun !== undefined && { planRun }),
    ...(holdBefore && { holdBefore }),
    ...(tuning && { tuning }),
  };
  await startChild(jobWorkflows[kind], {
    workflowId: jobId,
    args: [input],
    parentClosePolicy: ParentClosePolicy.ABANDON,
    staticSummary: `${jobTitles[kind]} of ${vm}`,
  });
}
