/**
 * What can happen to a protected item, and the only function that changes it. The workflow performs, this decides: no
 * time, no chance, no I/O in here. Whatever it is told, there is one job at a time, and neither the epoch nor, within it,
 * the sequence goes back.
 */
import { z } from 'zod';
import { afterAttempt, type AppConsistentFailure } from './app-consistency.js';
import { failureSchema } from './errors.js';
import type { Fence } from './fence.js';
import type { JobKind, RetryState } from './job.js';
import {
  afterTaggedCycle,
  namedPointSchema,
  tagsOfCycle,
  withTagRequest,
  type NamedPoint,
  type TagRequest,
} from './named-points.js';
import { copyFrequencyMs } from './policy.js';
import { cycleSchema, type JobRequest, type ProtectedItem } from './protected-item.js';
import { isoTimeSchema, toIso, toMs } from './time.js';
import { recoveryPointId } from './vault.js';

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
  | { type: 'resyncRequired'; cause: string; at: string }
  | { type: 'resyncScheduled'; dueAt: string };

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
      // One job at a time: whoever asks for a second start comes too late, or twice.
      if (!request || item.job) return item;
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
        ...afterTags(item, { epoch: item.epoch, ...event.cycle }),
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
      return { ...rest, resync: { cause: event.cause, since: item.resync?.since ?? event.at } };
    }
    case 'resyncScheduled':
      return item.resync ? { ...item, resync: { ...item.resync, dueAt: event.dueAt } } : item;
  }
}

/** The first cycle that holds everything written up to now: not one whose logs may be cut already. */
export const cycleToRequest = (item: ProtectedItem): number =>
  item.begunSequence === item.nextSequence ? item.nextSequence + 1 : item.nextSequence;

/** The next due time stays on its grid; ticks that went by meanwhile count as missed. */
function afterCycle(item: ProtectedItem, event: ItemEvent & { type: 'cycleApplied' }): ProtectedItem {
  if (event.cycle.sequence < item.nextSequence) return item;
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

/** Its manifest has the names: the point will have them. Until the store has said so, that is where they are. */
function afterTags(item: ProtectedItem, cycle: Fence): Pick<ProtectedItem, 'tagRequests' | 'namedPoints'> {
  const id = recoveryPointId(cycle.epoch, cycle.sequence);
  const named = tagsOfCycle(item, cycle).map((tag) => ({ tag, id }));
  if (!item.tagRequests || named.length === 0) return {};
  return {
    tagRequests: afterTaggedCycle(item.tagRequests, cycle),
    namedPoints: [...(item.namedPoints ?? []), ...named],
  };
}

/** A VM whose points never had a name does not begin to say so. */
const knownNames = (
  item: ProtectedItem,
  namedPoints: readonly NamedPoint[] | undefined,
): Pick<ProtectedItem, 'namedPoints'> =>
  namedPoints && (namedPoints.length > 0 || item.namedPoints) ? { namedPoints: [...namedPoints] } : {};

function afterJob(item: ProtectedItem, kind: JobKind, event: ItemEvent & { type: 'jobEnded' }): ProtectedItem {
  const { job: _, ...rest } = item;
  const { outcome, failure, epoch, cycle, recoveryPoint, namedPoints } = event.result;
  const ended: ProtectedItem = {
    ...rest,
    recentJobs: [
      ...item.recentJobs,
      { id: event.jobId, kind, outcome, endedAt: event.at, ...(failure && { failure }) },
    ].slice(-JOBS_REMEMBERED),
    epoch: Math.max(item.epoch, epoch ?? 0),
    ...(cycle && {
      shipped: cycle,
      applied: cycle,
      // Sequences begin anew with an epoch.
      nextSequence: (epoch ?? 0) > item.epoch ? cycle.sequence + 1 : Math.max(item.nextSequence, cycle.sequence + 1),
    }),
    ...(cycle && afterTags(item, { epoch: kind === 'resynchronize' ? (epoch ?? 0) : item.epoch, ...cycle })),
    ...knownNames(item, namedPoints),
    ...(recoveryPoint && { latestRecoveryPoint: recoveryPoint }),
  };
  if (outcome !== 'succeeded' && failure?.class === 'needsResync') {
    return next(ended, { type: 'resyncRequired', cause: failure.message, at: event.at });
  }
  if (kind === 'resynchronize' && outcome === 'cancelled' && item.resync) {
    const { dueAt: _due, ...resync } = item.resync;
    return { ...ended, resync: { ...resync, skipOpen: true } };
  }
  if (outcome !== 'succeeded') {
    // A failover that was given up: the source runs again and its changes go on being sent.
    return kind === 'plannedFailover' ? { ...ended, cycleDueAt: event.at } : ended;
  }
  switch (kind) {
    case 'enableProtection': {
      const { begunSequence: _b, requestedSequence: _r, ...fresh } = ended;
      return { ...whole(fresh), phase: 'Seeding', nextSequence: ended.epoch > item.epoch ? 1 : ended.nextSequence };
    }
    case 'initialReplication':
      return whole(ended);
    case 'finalizeProtection':
      return { ...ended, phase: 'Protected', cycleDueAt: event.at, protectedSince: event.at };
    case 'resynchronize': {
      const { begunSequence: _b, requestedSequence: _r, ...equal } = whole(ended);
      return item.phase === 'Protected' ? { ...equal, cycleDueAt: event.at } : equal;
    }
    case 'plannedFailover': {
      const { cycleDueAt: _due, ...stopped } = ended;
      return { ...stopped, phase: 'FailedOver', activeSide: 'recovery' };
    }
    case 'commitFailover':
      return { ...ended, phase: 'Committed' };
  }
}

/** A mark of what was before a whole copy that has been begun, or read back and found equal, says nothing any more. */
function whole(item: ProtectedItem): ProtectedItem {
  const { resync: _, ...rest } = item;
  return rest;
}
