/**
 * The state of one protected VM, and the only function that changes it. `phase` holds resting states; what is on its
 * way is the running job and its task. The workflow performs, this decides: no time, no chance, no I/O in here. Whatever
 * it is told, there is one job at a time, and neither the epoch nor, within it, the sequence goes back.
 */
import { z } from 'zod';
import { failureSchema, type Failure } from './errors.js';
import { nameSchema } from './ids.js';
import { jobKindSchema, jobTitles, progressSchema, retryStateSchema, type JobKind, type RetryState } from './job.js';
import { copyFrequencyMs, policySchema } from './policy.js';
import { isoTimeSchema, toIso, toMs } from './time.js';

export const phases = ['Unprotected', 'Seeding', 'Protected', 'FailedOver', 'Committed', 'FailedBack'] as const;
export type Phase = (typeof phases)[number];

/** A job that was accepted: the request's id makes asking twice harmless. */
const jobRequestSchema = z.object({
  requestId: z.string(),
  jobId: z.string(),
  kind: jobKindSchema,
  /** Workflow id of the plan run that asked. */
  planRun: z.string().optional(),
  /** Tasks the job holds before until the plan run releases them. */
  holdBefore: z.array(z.string()).optional(),
});
export type JobRequest = z.infer<typeof jobRequestSchema>;

const runningJobSchema = jobRequestSchema.extend({
  startedAt: isoTimeSchema,
  task: z.string().optional(),
  progress: progressSchema.optional(),
  retry: retryStateSchema.optional(),
  /** When it was last heard of; a job that stays silent is asked whether it still exists. */
  heardAt: isoTimeSchema,
});

const cycleSchema = z.object({ sequence: z.int(), sealedAt: isoTimeSchema, bytes: z.number() });

export const protectedItemSchema = z.object({
  stateVersion: z.literal(1),
  vault: nameSchema,
  vm: nameSchema,
  host: nameSchema,
  vmmServer: nameSchema,
  policy: policySchema,
  phase: z.enum(phases),
  activeSide: z.enum(['primary', 'recovery']),
  epoch: z.int().min(0),
  /** The next cycle to be cut. */
  nextSequence: z.int().min(1),
  /** When the next cycle is due; only with delta replication on. */
  cycleDueAt: isoTimeSchema.optional(),
  /** The newest cycle whose manifest is durable: its seal time is what the RPO counts from. */
  shipped: cycleSchema.optional(),
  /** The newest cycle the replica holds. */
  applied: cycleSchema.optional(),
  latestRecoveryPoint: z.object({ id: z.string(), time: isoTimeSchema }).optional(),
  /** Of the last cycles, the newest last: was it on time? */
  cycleHistory: z.array(z.boolean()),
  retry: retryStateSchema.optional(),
  resync: z.object({ cause: z.string(), since: isoTimeSchema }).optional(),
  job: runningJobSchema.optional(),
  pending: z.array(jobRequestSchema),
  answered: z.array(z.object({ requestId: z.string(), jobId: z.string() })),
  recentJobs: z.array(
    z.object({
      id: z.string(),
      kind: jobKindSchema,
      outcome: z.enum(['succeeded', 'failed', 'cancelled']),
      endedAt: isoTimeSchema,
      failure: failureSchema.optional(),
    }),
  ),
  protectedSince: isoTimeSchema.optional(),
});
export type ProtectedItem = z.infer<typeof protectedItemSchema>;

const CYCLES_REMEMBERED = 20;
const REQUESTS_REMEMBERED = 50;
const JOBS_REMEMBERED = 10;

export type NewItem = Pick<ProtectedItem, 'vault' | 'vm' | 'host' | 'vmmServer' | 'policy'>;

export const newProtectedItem = (of: NewItem): ProtectedItem => ({
  stateVersion: 1,
  ...of,
  phase: 'Unprotected',
  activeSide: 'primary',
  epoch: 0,
  nextSequence: 1,
  cycleHistory: [],
  pending: [],
  answered: [],
  recentJobs: [],
});

/** What a job tells the entity when it ends; only the fields of its kind are there. */
export const jobOutcomeSchema = z.object({
  outcome: z.enum(['succeeded', 'failed', 'cancelled']),
  failure: failureSchema.optional(),
  epoch: z.int().optional(),
  /** Cycles the job itself made, so that the loop goes on after them. */
  cycle: cycleSchema.optional(),
  recoveryPoint: z.object({ id: z.string(), time: isoTimeSchema }).optional(),
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
  | { type: 'cycleShipped'; cycle: { sequence: number; sealedAt: string; bytes: number } }
  | {
      type: 'cycleApplied';
      cycle: { sequence: number; sealedAt: string; bytes: number };
      recoveryPoint?: { id: string; time: string } | undefined;
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
      return { ...item, cycleDueAt: event.at };
    case 'cycleShipped':
      return { ...item, shipped: event.cycle };
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

/** The next due time stays on its grid; ticks that went by meanwhile count as missed. */
function afterCycle(item: ProtectedItem, event: ItemEvent & { type: 'cycleApplied' }): ProtectedItem {
  if (event.cycle.sequence < item.nextSequence) return item;
  const period = copyFrequencyMs(item.policy);
  const { retry: _, ...rest } = item;
  const dueAt = toMs(item.cycleDueAt ?? event.at);
  const missed = Math.max(0, Math.floor((toMs(event.at) - dueAt) / period));
  const history = [...item.cycleHistory, ...Array<boolean>(Math.min(missed, CYCLES_REMEMBERED)).fill(false), true];
  return {
    ...rest,
    nextSequence: event.cycle.sequence + 1,
    shipped: event.cycle,
    applied: event.cycle,
    cycleDueAt: toIso(dueAt + (missed + 1) * period),
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
      nextSequence: Math.max(item.nextSequence, cycle.sequence + 1),
    }),
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
    case 'enableProtection':
      return { ...whole(ended), phase: 'Seeding', nextSequence: ended.epoch > item.epoch ? 1 : ended.nextSequence };
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

/** The job that follows by itself when the given one has succeeded. */
export const followUpOf = (kind: JobKind): JobKind | undefined =>
  ({ enableProtection: 'initialReplication', initialReplication: 'finalizeProtection' } as const)[kind as string];

export const operations = ['enableProtection', 'sync', 'retry', 'plannedFailover', 'commitFailover'] as const;
export type Operation = (typeof operations)[number];
export type Permission = { allowed: true } | { allowed: false; reason: string };

const yes: Permission = { allowed: true };
const no = (reason: string): Permission => ({ allowed: false, reason });

/** What may be asked of the VM now, and why not the rest. */
export function allowedOperations(item: ProtectedItem): Record<Operation, Permission> {
  const busyWith = item.job ?? item.pending[0];
  const busy = busyWith && no(`the job "${jobTitles[busyWith.kind]}" is running (${busyWith.jobId})`);
  const resync = item.resync && no('the VM is marked for resynchronization');
  const inPhase = (wanted: Phase, what: string) =>
    item.phase === wanted ? undefined : no(`${what}; it is ${phaseText[item.phase]}`);
  return {
    enableProtection:
      item.phase === 'Unprotected' ? (busy ?? yes) : no(`the VM is protected already: it is ${phaseText[item.phase]}`),
    sync: busy ?? inPhase('Protected', 'only a protected VM is synchronized') ?? resync ?? yes,
    retry: item.retry || item.job?.retry || seedingStopped(item) ? yes : no('nothing is waiting for a retry'),
    plannedFailover: busy ?? inPhase('Protected', 'only a protected VM can be failed over') ?? resync ?? yes,
    commitFailover: busy ?? inPhase('FailedOver', 'there is no failover to commit') ?? yes,
  };
}

/** Initial replication or its finalizing was cancelled or failed: `retry` starts it again. */
export const seedingStopped = (item: ProtectedItem): boolean =>
  item.phase === 'Seeding' && !item.job && item.pending.length === 0;

export const phaseText: Record<Phase, string> = {
  Unprotected: 'not protected',
  Seeding: 'in initial replication',
  Protected: 'protected',
  FailedOver: 'failed over, not committed',
  Committed: 'failed over and committed',
  FailedBack: 'failed back, not committed',
};
