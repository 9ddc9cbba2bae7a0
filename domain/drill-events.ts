/**
 * What events change of a VM's test failover. Its jobs run beside the VM's other jobs and its replication, so they
 * change nothing else of the item.
 */
import { DEFAULT_DRILL_SECONDS } from './drill-limits.js';
import { testVmName, type Drill, type LastDrill } from './drill.js';
import { JOBS_REMEMBERED, type JobOutcome } from './job-outcome.js';
import type { RetryState } from './job.js';
import type { ProtectedItem } from './protected-item.js';
import type { JobRequest } from './running-job.js';
import { later, toIso, toMs } from './time.js';

/** After a cleanup that was cancelled, the next one does not begin by itself before this time, ms. */
const CLEANUP_REST_MS = 3_600_000;

/** Whether a job with this ID belongs to the drill. */
export const isDrillJob = ({ drill }: ProtectedItem, jobId: string): boolean =>
  drill?.job?.jobId === jobId || drill?.requested?.jobId === jobId;

/** One job of the drill at a time: a request that comes while one is there changes nothing. */
export function drillRequested(item: ProtectedItem, request: JobRequest): ProtectedItem {
  const { drill } = item;
  if (drill?.requested || drill?.job) return item;
  return { ...item, drill: { testVm: testVmName(item.vm), ...drill, requested: request } };
}

export function drillJobStarted(item: ProtectedItem, { jobId, at }: { jobId: string; at: string }): ProtectedItem {
  const { requested, ...drill } = item.drill!;
  if (requested?.jobId !== jobId) return item;
  const job = { ...requested, startedAt: at, heardAt: at };
  if (requested.kind !== 'testFailover') return { ...item, drill: { ...drill, job } };
  const reason = requested.parameters?.reason;
  return { ...item, drill: { ...drill, since: at, ...(reason !== undefined && { reason }), job } };
}

export function drillJobProgressed(
  item: ProtectedItem,
  { task, retry, at }: { task?: string | undefined; retry?: RetryState | undefined; at: string },
): ProtectedItem {
  const { job, ...drill } = item.drill!;
  if (!job) return item;
  const { task: _t, retry: _r, ...rest } = job;
  const told = { ...rest, ...(task && { task }), ...(retry && { retry }), heardAt: at };
  return { ...item, drill: { ...drill, job: told } };
}

export function drillJobEnded(
  item: ProtectedItem,
  { jobId, at, result }: { jobId: string; at: string; result: JobOutcome },
): ProtectedItem {
  const { job, ...drill } = item.drill!;
  if (!job) return item;
  const { outcome, failure } = result;
  const { kind } = job;
  const recent = { id: jobId, kind, outcome, endedAt: at, ...(failure && { failure }) };
  const ended = { ...item, recentJobs: [...item.recentJobs, recent].slice(-JOBS_REMEMBERED) };
  if (kind === 'testFailover') return afterTest(ended, drill, job.parameters?.cleanUpAfterSeconds, { at, result });
  if (outcome !== 'succeeded') {
    const next = toIso(toMs(at) + CLEANUP_REST_MS);
    return { ...ended, drill: { ...drill, cleanUpAt: later(drill.cleanUpAt ?? at, next) } };
  }
  const { drill: _, ...without } = ended;
  return { ...without, lastDrill: lastOf(drill, at, job.parameters?.notes) };
}

/** A test failover that ended early is cleaned up automatically at once, if it has made anything. */
function afterTest(
  item: ProtectedItem,
  drill: Drill,
  seconds = DEFAULT_DRILL_SECONDS,
  { at, result }: { at: string; result: JobOutcome },
): ProtectedItem {
  const { outcome, failure, tested, closedFromOutside } = result;
  if (outcome === 'succeeded') {
    const cleanUpAt = toIso(toMs(at) + seconds * 1000);
    return { ...item, drill: { ...drill, ...(tested && { tested }), cleanUpAt } };
  }
  const problem = failure?.message ?? 'it was cancelled';
  if (tested || closedFromOutside)
    return { ...item, drill: { ...drill, ...(tested && { tested }), problem, cleanUpAt: at } };
  const { drill: _, ...without } = item;
  return { ...without, lastDrill: lastOf({ ...drill, problem }, at, undefined) };
}

/** A drill has passed only if its guest booted and passed its checks, and it was cleaned up. */
function lastOf({ since, tested, problem }: Drill, at: string, notes: string | undefined): LastDrill {
  const passed = problem === undefined && tested?.booted === true && tested.passed === true;
  const reason = problem ?? tested?.problem ?? 'not booted';
  return {
    at: since ?? at,
    ...(tested?.recoveryPoint && { recoveryPoint: tested.recoveryPoint }),
    ...(passed ? { outcome: 'passed' } : { outcome: 'notPassed', reason }),
    ...(notes !== undefined && { notes }),
  };
}
