/**
 * The events of a protected item, and the only function that changes the item. The function decides and the workflow
 * acts: there is no clock, no randomness and no I/O here. Whatever the events, there is at most one job at a time, the
 * epoch never goes back, and within an epoch the sequence never goes back.
 */
import { afterAttempt, type AppConsistentFailure } from './app-consistency.js';
import { drillJobEnded, drillJobProgressed, drillJobStarted, drillRequested, isDrillJob } from './drill-events.js';
import type { Failure } from './errors.js';
import type { HostNews, LocatedVm } from './host.js';
import type { RetryState } from './job.js';
import { saysHostIsSilent } from './host-silence.js';
import { afterJob, resolved, type JobOutcome } from './job-outcome.js';
import { jobDefinition } from './jobs/known-jobs.js';
import { marked } from './resync-mark.js';
import { afterTags, knownNames, withTagRequest, type NamedPoint, type TagRequest } from './named-points.js';
import { copyFrequencyMs, type Policy } from './policy.js';
import { isReplicated, type Health, type ProtectedItem } from './protected-item.js';
import type { JobRequest } from './running-job.js';
import { toIso, toMs } from './time.js';
import type { Leftover, Undoing } from './undoing.js';

export const CYCLES_REMEMBERED = 20;
const REQUESTS_REMEMBERED = 50;

export type ItemEvent =
  | { type: 'jobRequested'; request: JobRequest }
  | { type: 'jobStarted'; jobId: string; at: string }
  | {
      type: 'jobProgressed';
      jobId: string;
      at: string;
      task?: string | undefined;
      progress?: { bytesDone: number; bytesTotal: number } | undefined;
      retry?: RetryState | undefined;
    }
  | { type: 'jobEnded'; jobId: string; at: string; result: JobOutcome }
  /** `tag` names the recovery point of the cycle. */
  | { type: 'cycleRequested'; at: string; tag?: { name: string; requestId: string } | undefined }
  | { type: 'paused'; at: string }
  | { type: 'resumed'; at: string }
  | { type: 'policyChanged'; policy: Policy; at: string }
  | { type: 'hostChanged'; news: HostNews; at: string }
  | { type: 'vmMoved'; found: LocatedVm; at: string }
  | { type: 'alerted'; health: Health }
  | { type: 'cycleBegun' }
  | {
      type: 'cycleShipped';
      cycle: { sequence: number; sealedAt: string; bytes: number };
      /** Present if an app-consistent state was requested for the cycle. */
      appConsistency?: { at: string; failure?: AppConsistentFailure | undefined } | undefined;
    }
  | {
      type: 'cycleApplied';
      cycle: { sequence: number; sealedAt: string; bytes: number };
      recoveryPoint?: { id: string; time: string } | undefined;
      namedPoints?: readonly NamedPoint[] | undefined;
      at: string;
    }
  | { type: 'stepFailed'; retry: RetryState }
  | { type: 'retryRequested'; at: string }
  | { type: 'stepRecovered' }
  | { type: 'undoingRequested' }
  | { type: 'undone'; what: Undoing }
  | { type: 'notUndone'; what: Undoing; failure: Failure }
  | { type: 'sourceNotFenced'; problem: string; at: string }
  /** @param ranUntil when the source was turned off, if it was running. */
  | { type: 'sourceFenced'; epoch: number; ranUntil?: string }
  | { type: 'resyncRequired'; cause: string; at: string }
  | { type: 'resyncScheduled'; dueAt: string };

/** @returns the item after the event; the same object when the event changes nothing. */
export function next(item: ProtectedItem, event: ItemEvent): ProtectedItem {
  switch (event.type) {
    case 'jobRequested': {
      const { requestId, jobId, kind } = event.request;
      const answered = [...item.answered, { requestId, jobId }].slice(-REQUESTS_REMEMBERED);
      const { beside, takesOver } = jobDefinition(kind);
      if (beside) return drillRequested({ ...item, answered }, event.request);
      const pending = takesOver ? [event.request, ...item.pending] : [...item.pending, event.request];
      return { ...item, pending, answered };
    }
    case 'jobStarted': {
      if (isDrillJob(item, event.jobId)) return drillJobStarted(item, event);
      const request = item.pending.find((candidate) => candidate.jobId === event.jobId);
      // One job at a time: a second start arrives late or is a repetition.
      if (!request || item.job) return item;
      const { retry: _, ...rest } = item;
      // A current failure stays a condition of the VM.
      const failing = failingNow(item);
      return {
        ...rest,
        ...(failing && { unresolved: failing }),
        pending: item.pending.filter((candidate) => candidate !== request),
        job: { ...request, startedAt: event.at, heardAt: event.at },
      };
    }
    case 'jobProgressed': {
      if (isDrillJob(item, event.jobId)) return drillJobProgressed(item, event);
      if (item.job?.jobId !== event.jobId) return item;
      const { task: _t, progress: _p, retry: _r, ...rest } = item.job;
      const news = {
        ...(event.task && { task: event.task }),
        ...(event.progress && { progress: event.progress }),
        ...(event.retry && { retry: event.retry }),
      };
      const told = { ...item, job: { ...rest, ...news, heardAt: event.at } };
      // The job makes progress, so earlier failures are over.
      return event.progress && event.progress.bytesDone > 0 && !event.retry ? resolved(told) : told;
    }
    case 'jobEnded':
      if (isDrillJob(item, event.jobId)) return drillJobEnded(item, event);
      return item.job?.jobId === event.jobId ? afterJob(item, item.job.kind, event) : item;
    case 'cycleRequested':
      return {
        ...item,
        ...(cycleToRequest(item) === item.nextSequence
          ? { cycleDueAt: event.at }
          : { requestedSequence: cycleToRequest(item) }),
        ...(event.tag && { tagRequests: withTagRequest(item.tagRequests ?? [], tagRequest(item, event.tag)) }),
      };
    case 'paused': {
      if (item.paused) return item;
      const { retry, ...rest } = item;
      // A pause stops the retries, but does not end the failure.
      return { ...rest, ...(retry && { unresolved: retry }), paused: { since: event.at } };
    }
    case 'resumed': {
      const { paused, ...rest } = item;
      return paused ? { ...rest, ...(item.cycleDueAt !== undefined && { cycleDueAt: event.at }) } : item;
    }
    case 'policyChanged':
      return withPolicy(item, event.policy, event.at);
    case 'hostChanged':
      return afterHostNews(item, event.news, event.at);
    case 'vmMoved':
      return afterMove(item, event.found, event.at);
    case 'alerted':
      return { ...item, alertedHealth: event.health };
    case 'cycleBegun':
      return item.begunSequence === item.nextSequence ? item : { ...item, begunSequence: item.nextSequence };
    case 'cycleShipped':
      return {
        ...item,
        shipped: event.cycle,
        ...afterTags(item, { epoch: item.epoch, ...event.cycle }),
        ...(event.appConsistency && {
          appConsistency: afterAttempt(item.appConsistency, event.appConsistency.failure, event.appConsistency.at),
        }),
      };
    case 'cycleApplied':
      return afterCycle(item, event);
    case 'stepFailed':
      // A step that was running when the pause began is not retried before the pause ends, so it does not count as
      // being retried.
      if (!item.paused || item.job) return { ...item, retry: event.retry };
      return { ...item, unresolved: event.retry };
    case 'retryRequested':
      // A caller that waits for the result must not be told that the step still waits for `retry`.
      return item.retry ? { ...item, retry: { ...item.retry, nextTryAt: event.at } } : item;
    case 'stepRecovered': {
      const { retry: _, ...rest } = item;
      return item.retry ? resolved(rest) : item;
    }
    case 'undoingRequested':
      return item.leftovers ? { ...item, leftovers: item.leftovers.map((one) => ({ ...one, wanted: true })) } : item;
    case 'undone': {
      const { leftovers = [], ...rest } = item;
      const left = leftovers.filter(({ what }) => what !== event.what);
      return { ...rest, ...(left.length > 0 && { leftovers: left }) };
    }
    case 'notUndone': {
      const { what, failure } = event;
      const told = (one: Leftover) => (one.what === what ? { ...one, failure, wanted: false } : one);
      return item.leftovers ? { ...item, leftovers: item.leftovers.map(told) } : item;
    }
    case 'sourceNotFenced':
      return item.sourceFence
        ? { ...item, sourceFence: { ...item.sourceFence, problem: { message: event.problem, at: event.at } } }
        : item;
    case 'sourceFenced': {
      // The host is no longer watched for the fencing.
      const { sourceFence: _, hostTrouble: __, ...rest } = item;
      if (item.sourceFence?.epoch !== event.epoch) return item;
      const { ranUntil } = event;
      return ranUntil === undefined || item.phase === 'Unprotected'
        ? rest
        : { ...rest, sourceRan: { until: ranUntil } };
    }
    case 'resyncRequired':
      return marked(item, event.cause, event.at);
    case 'resyncScheduled':
      return item.resync ? { ...item, resync: { ...item.resync, dueAt: event.dueAt } } : item;
  }
}

/** The first cycle that will hold everything written so far: not one whose logs may already be cut. */
export const cycleToRequest = (item: ProtectedItem): number =>
  item.begunSequence === item.nextSequence ? item.nextSequence + 1 : item.nextSequence;

/** The failure that remains a condition when a job begins. */
function failingNow(item: ProtectedItem): RetryState | undefined {
  const { retry, unresolved } = item;
  // A VM that runs elsewhere is not affected by trouble of its host.
  const hostTrouble = isReplicated(item) ? item.hostTrouble : undefined;
  const host = hostTrouble && { failure: hostTrouble.failure, attempt: 1, since: hostTrouble.since };
  return retry ?? unresolved ?? host;
}

/** A running job finds this out itself, and may have begun another epoch since. */
function afterHostNews(item: ProtectedItem, { trouble, stopped }: HostNews, at: string): ProtectedItem {
  const { hostTrouble, ...rest } = item;
  const told = trouble ? { ...rest, hostTrouble: trouble } : hostTrouble ? hostIsBack(rest) : item;
  const isMarked = stopped?.epoch === item.epoch && item.phase === 'Protected' && !item.job && !item.resync;
  if (!stopped || !isMarked) return told;
  return marked(told, stopped.cause, at);
}

/** Clears a failure that was only due to the host's silence. */
const hostIsBack = (item: ProtectedItem): ProtectedItem =>
  item.unresolved && saysHostIsSilent(item.unresolved.failure.code) ? resolved(item) : item;

/** The state of the former host says nothing about the new one. A job finds out itself which epoch is tracked there. */
function afterMove(item: ProtectedItem, { host, tracking }: LocatedVm, at: string): ProtectedItem {
  if (host === item.host) return item;
  const { hostTrouble: _, ...rest } = item;
  const moved = hostIsBack({ ...rest, host });
  if (item.phase !== 'Protected' || item.job || item.resync) return moved;
  const cause = tracking
    ? tracking.epoch === item.epoch
      ? tracking.resyncCause
      : `the VM was moved to host ${host}, which tracks epoch ${tracking.epoch} instead of ${item.epoch}`
    : `the VM was moved to host ${host}, which did not track its changes`;
  return cause === undefined ? moved : marked(moved, cause, at);
}

/** A shorter frequency counts from the newest cycle, a longer one from the next cycle on. */
function withPolicy(item: ProtectedItem, policy: Policy, at: string): ProtectedItem {
  if (item.cycleDueAt === undefined) return { ...item, policy };
  const dueAt = toMs(item.cycleDueAt);
  const sooner = dueAt - copyFrequencyMs(item.policy) + copyFrequencyMs(policy);
  // Never in the past, because cycles that the old policy did not require have not been missed.
  const cycleDueAt = sooner < dueAt ? toIso(Math.max(sooner, Math.min(dueAt, toMs(at)))) : item.cycleDueAt;
  return { ...item, policy, cycleDueAt };
}

/** Cycles that came due but could not begin before the one that finishes at `at`, ISO 8601. */
export const missedCycles = ({ cycleDueAt, policy }: ProtectedItem, at: string): number =>
  Math.max(0, Math.floor((toMs(at) - toMs(cycleDueAt ?? at)) / copyFrequencyMs(policy)));

/** The next due time stays on its grid; cycles that came due in the meantime count as missed. */
function afterCycle(item: ProtectedItem, event: ItemEvent & { type: 'cycleApplied' }): ProtectedItem {
  if (event.cycle.sequence < item.nextSequence) return item;
  const period = copyFrequencyMs(item.policy);
  const { retry: _, ...rest } = item;
  const dueAt = toMs(item.cycleDueAt ?? event.at);
  const requested = item.requestedSequence === event.cycle.sequence + 1;
  const missed = missedCycles(item, event.at);
  const history = [...item.cycleHistory, ...Array<boolean>(Math.min(missed, CYCLES_REMEMBERED)).fill(false), true];
  return {
    ...resolved(rest),
    nextSequence: event.cycle.sequence + 1,
    shipped: event.cycle,
    applied: event.cycle,
    cycleDueAt: requested ? event.at : toIso(dueAt + (missed + 1) * period),
    cycleHistory: history.slice(-CYCLES_REMEMBERED),
    ...(event.recoveryPoint && { latestRecoveryPoint: event.recoveryPoint }),
    ...knownNames(item, event.namedPoints),
  };
}

const tagRequest = (
  item: ProtectedItem,
  { name: tag, requestId }: { name: string; requestId: string },
): TagRequest => ({
  requestId,
  tag,
  epoch: item.epoch,
  sequence: cycleToRequest(item),
  done: false,
});
