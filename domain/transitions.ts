/**
 * What can happen to a protected item, and the only function that changes it. The workflow performs, this decides: no
 * time, no chance, no I/O in here.
 */
import { z } from 'zod';
import { afterAttempt, type AppConsistentFailure } from './app-consistency.js';
import { failureSchema, type Failure } from './errors.js';
import type { JobKind, RetryState } from './job.js';
import {
  afterTaggedCycle,
  namedPointSchema,
  withTagRequest,
  type NamedPoint,
  type TagRequest,
} from './named-points.js';
import { copyFrequencyMs } from './policy.js';
import { cycleSchema, type JobRequest, type ProtectedItem } from './protected-item.js';
import { isoTimeSchema, toIso, toMs } from './time.js';

const CYCLES_REMEMBERED = 20;
const REQUESTS_REMEMBERED = 50;
const JOBS_REMEMBERED = 10;

/** What a job tells the entity when it ends; only the fields of its kind are there. */
export const jobOutcomeSchema = z.object({
  outcome: z.enum(['succeeded', 'failed', 'cancelled']),
  failure: failureSchema.optional(),
  epoch: z.int().optional(),
  /** Cycles the job itself made, so that the loop goes on after them. */
  cycle: cycleSchema.optional(),
  recoveryPoint: z.object({ id: z.string(), time: isoTimeSchema }).optional(),
  /** The points that have a name, after the job's cycles. */
  namedPoints: z.array(namedPointSchema).optional(),
});
export type JobOutcome = z.infer<typeof jobOutcomeSchema>;

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
  /** `tag` names the point that comes of it. */
  | { type: 'cycleRequested'; at: string; tag?: { name: string; requestId: string } | undefined }
  | { type: 'cycleBegun' }
  | {
      type: 'cycleShipped';
      cycle: { sequence: number; sealedAt: string; bytes: number };
      /** Given when the cycle was asked to be app-consistent. */
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
  | { type: 'stepRecovered' }
  | { type: 'resyncRequired'; failure: Failure; at: string };

/** @returns the item after the event; the same object when the event changes nothing. */
export function next(item: ProtectedItem, event: ItemEvent): ProtectedItem {
  switch (event.type) {
    case 'jobRequested':
      return {
        ...item,
        pending: [...item.pending, event.request],
        answered: [...item.answered, { requestId: event.request.requestId, jobId: event.request.jobId }].slice(
          -REQUESTS_REMEMBERED,
        ),
      };
    case 'jobStarted': {
      const request = item.pending.find((candidate) => candidate.jobId === event.jobId);
      if (!request) return item;
      const { retry: _, ...rest } = item;
      return {
        ...rest,
        pending: item.pending.filter((candidate) => candidate !== request),
        job: { ...request, startedAt: event.at, heardAt: event.at },
      };
    }
    case 'jobProgressed': {
      if (item.job?.jobId !== event.jobId) return item;
      const { task: _t, progress: _p, retry: _r, ...rest } = item.job;
      const news = {
        ...(event.task && { task: event.task }),
        ...(event.progress && { progress: event.progress }),
        ...(event.retry && { retry: event.retry }),
      };
      return { ...item, job: { ...rest, ...news, heardAt: event.at } };
    }
    case 'jobEnded':
      return item.job?.jobId === event.jobId ? afterJob(item, item.job.kind, event) : item;
    case 'cycleRequested':
      return {
        ...item,
        ...(cycleToRequest(item) === item.nextSequence
          ? { cycleDueAt: event.at }
          : { requestedSequence: cycleToRequest(item) }),
        ...(event.tag && { tagRequests: withTagRequest(item.tagRequests ?? [], tagRequest(item, event.tag)) }),
      };
    case 'cycleBegun':
      return item.begunSequence === item.nextSequence ? item : { ...item, begunSequence: item.nextSequence };
    case 'cycleShipped':
      return {
        ...item,
        shipped: event.cycle,
        ...(event.appConsistency && {
          appConsistency: afterAttempt(item.appConsistency, event.appConsistency.failure, event.appConsistency.at),
        }),
      };
    case 'cycleApplied':
      return afterCycle(item, event);
    case 'stepFailed':
      return { ...item, retry: event.retry };
    case 'stepRecovered': {
      const { retry: _, ...rest } = item;
      return item.retry ? rest : item;
    }
    case 'resyncRequired': {
      const { retry: _, cycleDueAt: _due, ...rest } = item;
      return { ...rest, resync: { cause: event.failure.message, since: item.resync?.since ?? event.at } };
    }
  }
}

/** The first cycle that holds everything written up to now: not one whose logs may be cut already. */
export const cycleToRequest = (item: ProtectedItem): number =>
  item.begunSequence === item.nextSequence ? item.nextSequence + 1 : item.nextSequence;

/** The next due time stays on its grid; ticks that went by meanwhile count as missed. */
function afterCycle(item: ProtectedItem, event: ItemEvent & { type: 'cycleApplied' }): ProtectedItem {
  const period = copyFrequencyMs(item.policy);
  const { retry: _, ...rest } = item;
  const dueAt = toMs(item.cycleDueAt ?? event.at);
  const requested = item.requestedSequence === event.cycle.sequence + 1;
  const missed = Math.max(0, Math.floor((toMs(event.at) - dueAt) / period));
  const history = [...item.cycleHistory, ...Array<boolean>(Math.min(missed, CYCLES_REMEMBERED)).fill(false), true];
  return {
    ...rest,
    nextSequence: event.cycle.sequence + 1,
    shipped: event.cycle,
    applied: event.cycle,
    cycleDueAt: requested ? event.at : toIso(dueAt + (missed + 1) * period),
    cycleHistory: history.slice(-CYCLES_REMEMBERED),
    ...(event.recoveryPoint && { latestRecoveryPoint: event.recoveryPoint }),
    ...afterNames(item, event.cycle, event.namedPoints),
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

/** @param item as it was during the cycle. */
const afterNames = (
  item: ProtectedItem,
  { sequence }: { sequence: number },
  namedPoints: readonly NamedPoint[] | undefined,
): Pick<ProtectedItem, 'tagRequests' | 'namedPoints'> => ({
  ...(item.tagRequests && { tagRequests: afterTaggedCycle(item.tagRequests, { epoch: item.epoch, sequence }) }),
  ...(namedPoints && (namedPoints.length > 0 || item.namedPoints) && { namedPoints: [...namedPoints] }),
});

function afterJob(item: ProtectedItem, kind: JobKind, event: ItemEvent & { type: 'jobEnded' }): ProtectedItem {
  const { job: _, ...rest } = item;
  const { outcome, failure, epoch, cycle, recoveryPoint, namedPoints } = event.result;
  const ended: ProtectedItem = {
    ...rest,
    recentJobs: [
      ...item.recentJobs,
      { id: event.jobId, kind, outcome, endedAt: event.at, ...(failure && { failure }) },
    ].slice(-JOBS_REMEMBERED),
    ...(epoch !== undefined && { epoch }),
    ...(cycle && { shipped: cycle, applied: cycle, nextSequence: cycle.sequence + 1 }),
    ...(cycle && afterNames(item, cycle, namedPoints)),
    ...(recoveryPoint && { latestRecoveryPoint: recoveryPoint }),
  };
  if (outcome !== 'succeeded' && failure?.class === 'needsResync') {
    return next(ended, { type: 'resyncRequired', failure, at: event.at });
  }
  if (outcome !== 'succeeded') {
    // A failover that was given up: the source runs again and its changes go on being sent.
    return kind === 'plannedFailover' ? { ...ended, cycleDueAt: event.at } : ended;
  }
  switch (kind) {
    case 'enableProtection': {
      const { begunSequence: _b, requestedSequence: _r, ...fresh } = ended;
      return { ...fresh, phase: 'Seeding', nextSequence: 1 };
    }
    case 'initialReplication':
      return ended;
    case 'finalizeProtection':
      return { ...ended, phase: 'Protected', cycleDueAt: event.at, protectedSince: event.at };
    case 'plannedFailover': {
      const { cycleDueAt: _due, ...stopped } = ended;
      return { ...stopped, phase: 'FailedOver', activeSide: 'recovery' };
    }
    case 'commitFailover':
      return { ...ended, phase: 'Committed' };
  }
}
