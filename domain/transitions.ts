/**
 * What can happen to a protected item, and the only function that changes it. The workflow performs, this decides: no
 * time, no chance, no I/O in here. Whatever it is told, there is one job at a time, and neither the epoch nor, within it,
 * the sequence goes back.
 */
import { z } from 'zod';
import { failureSchema } from './errors.js';
import type { HostNews } from './host.js';
import type { JobKind, RetryState } from './job.js';
import { copyFrequencyMs, type Policy } from './policy.js';
import { cycleSchema, type Health, type JobRequest, type ProtectedItem } from './protected-item.js';
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
  /** Why the replica has to be resynchronized, although the job has succeeded. */
  resyncCause: z.string().optional(),
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
  | { type: 'cycleRequested'; at: string }
  | { type: 'paused'; at: string }
  | { type: 'resumed'; at: string }
  | { type: 'policyChanged'; policy: Policy; at: string }
  | { type: 'hostChanged'; news: HostNews; at: string }
  | { type: 'alerted'; health: Health }
  | { type: 'cycleBegun' }
  | { type: 'cycleShipped'; cycle: { sequence: number; sealedAt: string; bytes: number } }
  | {
      type: 'cycleApplied';
      cycle: { sequence: number; sealedAt: string; bytes: number };
      recoveryPoint?: { id: string; time: string } | undefined;
      at: string;
    }
  | { type: 'stepFailed'; retry: RetryState }
  | { type: 'stepRecovered' }
  | { type: 'sourceNotFenced'; problem: string }
  | { type: 'sourceFenced'; epoch: number }
  | { type: 'resyncRequired'; cause: string; at: string }
  | { type: 'resyncScheduled'; dueAt: string };

/** @returns the item after the event; the same object when the event changes nothing. */
export function next(item: ProtectedItem, event: ItemEvent): ProtectedItem {
  switch (event.type) {
    case 'jobRequested':
      return {
        ...item,
        // An unplanned failover takes over from whatever runs or waits.
        pending:
          event.request.kind === 'unplannedFailover'
            ? [event.request, ...item.pending]
            : [...item.pending, event.request],
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
      return cycleToRequest(item) === item.nextSequence
        ? { ...item, cycleDueAt: event.at }
        : { ...item, requestedSequence: cycleToRequest(item) };
    case 'paused': {
      const { retry: _, ...rest } = item;
      return item.paused ? item : { ...rest, paused: { since: event.at } };
    }
    case 'resumed': {
      const { paused, ...rest } = item;
      return paused ? { ...rest, ...(item.cycleDueAt !== undefined && { cycleDueAt: event.at }) } : item;
    }
    case 'policyChanged':
      return withPolicy(item, event.policy, event.at);
    case 'hostChanged':
      return afterHostNews(item, event.news, event.at);
    case 'alerted':
      return { ...item, alertedHealth: event.health };
    case 'cycleBegun':
      return item.begunSequence === item.nextSequence ? item : { ...item, begunSequence: item.nextSequence };
    case 'cycleShipped':
      return { ...item, shipped: event.cycle };
    case 'cycleApplied':
      return afterCycle(item, event);
    case 'stepFailed':
      // What was under way when the pause began is not tried again before its end, so it is not said to be.
      return item.paused && !item.job ? item : { ...item, retry: event.retry };
    case 'stepRecovered': {
      const { retry: _, ...rest } = item;
      return item.retry ? rest : item;
    }
    case 'sourceNotFenced':
      return item.sourceFence ? { ...item, sourceFence: { ...item.sourceFence, problem: event.problem } } : item;
    case 'sourceFenced': {
      const { sourceFence: _, ...rest } = item;
      return item.sourceFence?.epoch === event.epoch ? rest : item;
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

/** While a job is there it finds out by itself, and may have begun another epoch since. */
function afterHostNews(item: ProtectedItem, { trouble, stopped }: HostNews, at: string): ProtectedItem {
  const { hostTrouble, ...rest } = item;
  const told = trouble ? { ...rest, hostTrouble: trouble } : hostTrouble ? rest : item;
  const isMarked = stopped?.epoch === item.epoch && item.phase === 'Protected' && !item.job && !item.resync;
  if (!stopped || !isMarked) return told;
  return next(told, { type: 'resyncRequired', cause: stopped.cause, at });
}

/** A shorter frequency counts from the newest cycle already; a longer one from the next. */
function withPolicy(item: ProtectedItem, policy: Policy, at: string): ProtectedItem {
  if (item.cycleDueAt === undefined) return { ...item, policy };
  const dueAt = toMs(item.cycleDueAt);
  const sooner = dueAt - copyFrequencyMs(item.policy) + copyFrequencyMs(policy);
  // Never in the past: the cycles that the old policy did not want have not been missed.
  const cycleDueAt = sooner < dueAt ? toIso(Math.max(sooner, Math.min(dueAt, toMs(at)))) : item.cycleDueAt;
  return { ...item, policy, cycleDueAt };
}

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
  };
}

function afterJob(item: ProtectedItem, kind: JobKind, event: ItemEvent & { type: 'jobEnded' }): ProtectedItem {
  const { job: _, ...rest } = item;
  const { outcome, failure, epoch, cycle, recoveryPoint } = event.result;
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
    const goesOn =
      kind === 'plannedFailover' ||
      kind === 'verifyReplica' ||
      (kind === 'unplannedFailover' && item.phase === 'Protected' && !item.resync);
    return goesOn ? { ...ended, cycleDueAt: event.at } : ended;
  }
  switch (kind) {
    case 'enableProtection': {
      const { begunSequence: _b, requestedSequence: _r, ...fresh } = ended;
      return { ...whole(fresh), phase: 'Seeding', nextSequence: ended.epoch > item.epoch ? 1 : ended.nextSequence };
    }
    case 'initialReplication':
      return whole(ended);
    case 'finalizeProtection':
      return {
        ...ended,
        phase: 'Protected',
        protectedSince: event.at,
        // A VM that is marked has no cycles to wait for.
        ...(!ended.resync && { cycleDueAt: event.at }),
      };
    case 'resynchronize': {
      const { begunSequence: _b, requestedSequence: _r, ...equal } = whole(ended);
      return item.phase === 'Protected' ? { ...equal, cycleDueAt: event.at } : equal;
    }
    case 'plannedFailover': {
      const { cycleDueAt: _due, paused: _p, ...stopped } = ended;
      return { ...stopped, phase: 'FailedOver', activeSide: 'recovery' };
    }
    case 'unplannedFailover': {
      const { cycleDueAt: _due, resync: _resync, retry: _retry, paused: _p, ...stopped } = ended;
      return {
        ...stopped,
        phase: 'FailedOver',
        activeSide: 'recovery',
        // What was waiting was meant for a VM that runs at the primary site.
        pending: [],
        sourceFence: { epoch: ended.epoch, since: event.at },
      };
    }
    case 'commitFailover':
      return { ...ended, phase: 'Committed' };
    case 'verifyReplica': {
      // The cycles that were due meanwhile have not been missed: they are made good at once.
      const due = item.phase === 'Protected' ? { ...ended, cycleDueAt: event.at } : ended;
      const cause = event.result.resyncCause;
      return cause === undefined ? due : next(due, { type: 'resyncRequired', cause, at: event.at });
    }
    case 'disableProtection': {
      const { cycleDueAt: _d, shipped: _s, applied: _a, latestRecoveryPoint: _l, resync: _r, ...left } = ended;
      const { paused: _p, protectedSince: _ps, hostTrouble: _h, ...rest } = left;
      return { ...rest, phase: 'Unprotected', cycleHistory: [] };
    }
  }
}

/** A mark of what was before a whole copy that has been begun, or read back and found equal, says nothing any more. */
function whole(item: ProtectedItem): ProtectedItem {
  const { resync: _, ...rest } = item;
  return rest;
}
