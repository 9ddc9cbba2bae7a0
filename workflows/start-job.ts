/** Starts a job of a VM as a child that outlives the runs of its parent, which never awaits it. */
import { ParentClosePolicy, startChild } from '@temporalio/workflow';
import { titleOf } from '../domain/jobs/known-jobs.js';
import type { ProtectedItem } from '../domain/protected-item.js';
import type { JobRequest } from '../domain/running-job.js';
import { tuningOfNextRun, type JobInput, type Tuning } from './messages.js';

/** @param item the state before the job. */
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
    tuning: tuningOfNextRun(tuning),
  };
  // The workflow type is named after the kind of job.
  await startChild<(input: JobInput) => Promise<unknown>>(kind, {
    workflowId: jobId,
    args: [input],
    parentClosePolicy: ParentClosePolicy.ABANDON,
    staticSummary: `${titleOf(kind)} of ${vm}`,
  });
}
