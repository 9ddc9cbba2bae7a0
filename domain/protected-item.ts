/** The state of one protected VM. `phase` holds resting states; what is on its way is the running job and its task. */
import { z } from 'zod';
import { appConsistencySchema } from './app-consistency.js';
import { failureSchema } from './errors.js';
import { hostTroubleSchema } from './host.js';
import { nameSchema } from './ids.js';
import { jobKindSchema, jobParametersSchema, progressSchema, retryStateSchema, waitsForPerson } from './job.js';
import { namedPointSchema, tagRequestSchema } from './named-points.js';
import { policySchema } from './policy.js';
import { STATE_VERSION } from './state-version.js';
import { isoTimeSchema, toMs } from './time.js';
import { leftoverSchema, type Leftover } from './undoing.js';

const healths = ['Normal', 'Warning', 'Critical'] as const;
export type Health = (typeof healths)[number];

export const phases = ['Unprotected', 'Seeding', 'Protected', 'FailedOver', 'Committed', 'FailedBack'] as const;
export type Phase = (typeof phases)[number];

/** A job that was accepted: the request's id makes asking twice harmless. */
const jobRequestSchema = z.object({
  requestId: z.string(),
  jobId: z.string(),
  kind: jobKindSchema,
  parameters: jobParametersSchema.optional(),
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

export const cycleSchema = z.object({ sequence: z.int(), sealedAt: isoTimeSchema, bytes: z.number() });

export const protectedItemSchema = z.object({
  /** See `state-version.ts`; a newer one is read as far as this code can. */
  stateVersion: z.int().min(1),
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
  /** The newest cycle that was begun: when it is `nextSequence`, its logs may be cut already. */
  begunSequence: z.int().optional(),
  /** The cycle that an administrator's `sync` waits for; it is due as soon as the one before it is applied. */
  requestedSequence: z.int().optional(),
  /** When the next cycle is due; only with delta replication on. */
  cycleDueAt: isoTimeSchema.optional(),
  /** The newest cycle whose manifest is durable: its seal time is what the RPO counts from. */
  shipped: cycleSchema.optional(),
  /** The newest cycle the replica holds. */
  applied: cycleSchema.optional(),
  latestRecoveryPoint: z.object({ id: z.string(), time: isoTimeSchema }).optional(),
  /** Names asked for of recovery points. */
  tagRequests: z.array(tagRequestSchema).optional(),
  /** The points that have a name, as of the newest cycle applied. */
  namedPoints: z.array(namedPointSchema).optional(),
  /** Of the newest cycle that was asked to be app-consistent. */
  appConsistency: appConsistencySchema.optional(),
  /** Of the last cycles, the newest last: was it on time? */
  cycleHistory: z.array(z.boolean()),
  retry: retryStateSchema.optional(),
  /** Set while the replica can't be brought up to date by changes: why, since when, and when it will be resynchronized. */
  resync: z
    .object({
      cause: z.string(),
      since: isoTimeSchema,
      /** Not known until the window has been looked up. */
      dueAt: isoTimeSchema.optional(),
      /** It was cancelled: not again in the window that is open now. */
      skipOpen: z.boolean().optional(),
      /** After a failed one, the next does not start automatically before this instant, whatever the window. */
      notBefore: isoTimeSchema.optional(),
    })
    .optional(),
  /** The delta loop rests at an administrator's wish. Changes are tracked all the same. */
  paused: z.object({ since: isoTimeSchema }).optional(),
  /** Its host, or the agent there, does not answer. */
  hostTrouble: hostTroubleSchema.optional(),
  /** What was failing when a job began: a condition of the VM until something has shown that it is over. */
  unresolved: retryStateSchema.optional(),
  /** The health that the last alert told of. */
  alertedHealth: z.enum(healths).optional(),
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
  /** After an unplanned failover: the source has still to be told that it must not run, under this epoch. */
  sourceFence: z
    .object({
      epoch: z.int(),
      since: isoTimeSchema,
      /** What kept the newest try from telling it, and when. */
      problem: z.object({ message: z.string(), at: isoTimeSchema }).optional(),
      /** Of a host that did not answer when it was failed over: from when on. */
      hostSilentAt: isoTimeSchema.optional(),
    })
    .optional(),
  /** After an unplanned failover: the source was found running, and took writes until it was turned off. */
  sourceRan: z.object({ until: isoTimeSchema }).optional(),
  /** What jobs that are over should have undone, and have not. */
  leftovers: z.array(leftoverSchema).optional(),
  protectedSince: isoTimeSchema.optional(),
});
export type ProtectedItem = z.infer<typeof protectedItemSchema>;

export type NewItem = Pick<ProtectedItem, 'vault' | 'vm' | 'host' | 'vmmServer' | 'policy'>;

export const newProtectedItem = (of: NewItem): ProtectedItem => ({
  stateVersion: STATE_VERSION,
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

/** Of a VM that is marked for resynchronization: has it a time yet, and has that come? @param now ISO 8601. */
export function resyncState({ phase, resync }: ProtectedItem, now: string): 'none' | 'unscheduled' | 'waiting' | 'due' {
  if (!resync || (phase !== 'Protected' && phase !== 'Seeding')) return 'none';
  if (resync.dueAt === undefined) return 'unscheduled';
  return toMs(resync.dueAt) <= toMs(now) ? 'due' : 'waiting';
}

/** Not automatically during a pause, when nothing may be sent. An operator may still request it. */
export const isResyncDue = (item: ProtectedItem, now: string): boolean =>
  !item.paused && resyncState(item, now) === 'due';

/** A cycle that failed is due as long as it fails: the ladder knows when. @param now ISO 8601. */
export function isCycleDue({ phase, resync, paused, cycleDueAt, retry }: ProtectedItem, now: string): boolean {
  if (phase !== 'Protected' || resync || paused || cycleDueAt === undefined) return false;
  return retry !== undefined || toMs(cycleDueAt) <= toMs(now);
}

/** It still has to do with the primary site: what has failed over for good asks nothing of it once its source is fenced. */
export const needsPrimarySide = (item: ProtectedItem): boolean =>
  isProtected(item) &&
  (item.activeSide === 'primary' ||
    item.job !== undefined ||
    item.sourceFence !== undefined ||
    item.leftovers !== undefined);

/** Protection that never came about leaves nothing to look after; nor does one that ended, once nothing is owed any more. */
export const isOver = (item: ProtectedItem): boolean =>
  !isProtected(item) && item.pending.length === 0 && item.recentJobs.length > 0;

/** The leftover that must be undone now, as an operator has requested it. */
export const wantedLeftover = ({ leftovers }: ProtectedItem): Leftover | undefined =>
  leftovers?.find(({ wanted }) => wanted);

/** Initial replication or its finalizing was cancelled or failed: `retry` starts it again. */
export const seedingStopped = (item: ProtectedItem): boolean =>
  item.phase === 'Seeding' && !item.resync && !item.job && item.pending.length === 0;

/** The VM makes no progress until an operator runs `retry`; a waiting job of it reports that itself. */
export const standsStill = (item: ProtectedItem): boolean =>
  waitsForPerson(item) || (seedingStopped(item) && item.recentJobs.at(-1)?.outcome !== 'succeeded');

/** Its changes are sent from its host, or are meant to be. */
export const isReplicated = ({ phase, activeSide }: ProtectedItem): boolean =>
  activeSide === 'primary' && (phase === 'Seeding' || phase === 'Protected');

/** Its host has to be watched: changes come from there, or the source there has still to be told. */
export const needsHost = (item: ProtectedItem): boolean => isReplicated(item) || item.sourceFence !== undefined;

/** Protection that never came about, or has ended, is none. */
export const isProtected = ({ phase, job, leftovers, sourceFence }: ProtectedItem): boolean =>
  phase !== 'Unprotected' || job !== undefined || leftovers !== undefined || sourceFence !== undefined;

export const phaseText: Record<Phase, string> = {
  Unprotected: 'not protected',
  Seeding: 'in initial replication',
  Protected: 'protected',
  FailedOver: 'failed over, not committed',
  Committed: 'failed over and committed',
  FailedBack: 'failed back, not committed',
};
