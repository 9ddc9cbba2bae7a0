/**
 * The state of one protected VM. `phase` holds only lasting states; the running job and its task show what is changing.
 */
import { z } from 'zod';
import { appConsistencySchema } from './app-consistency.js';
import { drillSchema, lastDrillSchema } from './drill.js';
import { failureSchema } from './errors.js';
import { hostTroubleSchema } from './host.js';
import { nameSchema } from './ids.js';
import { jobKindSchema, retryStateSchema, waitsForPerson } from './job.js';
import { namedPointSchema, tagRequestSchema } from './named-points.js';
import { policySchema } from './policy.js';
import { jobRequestSchema, runningJobSchema } from './running-job.js';
import { STATE_VERSION } from './state-version.js';
import { isoTimeSchema, toMs } from './time.js';
import { leftoverSchema, type Leftover } from './undoing.js';

const healths = ['Normal', 'Warning', 'Critical'] as const;
export type Health = (typeof healths)[number];

export const phases = ['Unprotected', 'Seeding', 'Protected', 'FailedOver', 'Committed', 'FailedBack'] as const;
export type Phase = (typeof phases)[number];

export const cycleSchema = z.object({ sequence: z.int(), sealedAt: isoTimeSchema, bytes: z.number() });

export const protectedItemSchema = z.object({
  /** See `state-version.ts`; a newer version is read as far as this code can. */
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
  /** The newest cycle that has begun. If it equals `nextSequence`, the logs of that cycle may already be cut. */
  begunSequence: z.int().optional(),
  /** The cycle that an operator's `sync` waits for; it is due as soon as the previous one is applied. */
  requestedSequence: z.int().optional(),
  /** When the next cycle is due; set only while delta replication is on. */
  cycleDueAt: isoTimeSchema.optional(),
  /** The newest cycle whose manifest is durable; the RPO counts from its seal time. */
  shipped: cycleSchema.optional(),
  /** The newest cycle the replica holds. */
  applied: cycleSchema.optional(),
  latestRecoveryPoint: z.object({ id: z.string(), time: isoTimeSchema }).optional(),
  /** Requested names of recovery points. */
  tagRequests: z.array(tagRequestSchema).optional(),
  /** The recovery points that have a name, as of the newest applied cycle. */
  namedPoints: z.array(namedPointSchema).optional(),
  /** The newest cycle for which an app-consistent state was requested. */
  appConsistency: appConsistencySchema.optional(),
  /** Whether each of the last cycles was on time, newest last. */
  cycleHistory: z.array(z.boolean()),
  retry: retryStateSchema.optional(),
  /** Set while changes can't bring the replica up to date: why, since when, and when it will be resynchronized. */
  resync: z
    .object({
      cause: z.string(),
      since: isoTimeSchema,
      /** Absent until the window has been determined. */
      dueAt: isoTimeSchema.optional(),
      /** It was cancelled, so it must not start again in the window that is open now. */
      skipOpen: z.boolean().optional(),
      /** After a failure, the next one does not start automatically before this instant, even if the window is open. */
      notBefore: isoTimeSchema.optional(),
    })
    .optional(),
  /** An operator has paused the delta loop. Changes are still tracked. */
  paused: z.object({ since: isoTimeSchema }).optional(),
  /** Its host, or the agent there, does not answer. */
  hostTrouble: hostTroubleSchema.optional(),
  /** What was failing when a job began. It stays a condition of the VM until it is known to be over. */
  unresolved: retryStateSchema.optional(),
  /** The health that the last alert reported. */
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
  /** After an unplanned failover: the source must still be told not to run, under this epoch. */
  sourceFence: z
    .object({
      epoch: z.int(),
      since: isoTimeSchema,
      /** Why the newest attempt to tell it failed, and when. */
      problem: z.object({ message: z.string(), at: isoTimeSchema }).optional(),
      /** If the host did not answer during the failover: the time from which it did not. */
      hostSilentAt: isoTimeSchema.optional(),
    })
    .optional(),
  /** After an unplanned failover: the source was found running, and accepted writes until it was turned off. */
  sourceRan: z.object({ until: isoTimeSchema }).optional(),
  /** What ended jobs should have undone but have not. */
  leftovers: z.array(leftoverSchema).optional(),
  /** The test failover that exists beside replication, until it is cleaned up. */
  drill: drillSchema.optional(),
  /** The outcome of the newest test failover that has ended. */
  lastDrill: lastDrillSchema.optional(),
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

/**
 * Whether a VM that is marked for resynchronization has a time for it yet, and whether that has come.
 * @param now ISO 8601.
 */
export function resyncState({ phase, resync }: ProtectedItem, now: string): 'none' | 'unscheduled' | 'waiting' | 'due' {
  if (!resync || (phase !== 'Protected' && phase !== 'Seeding')) return 'none';
  if (resync.dueAt === undefined) return 'unscheduled';
  return toMs(resync.dueAt) <= toMs(now) ? 'due' : 'waiting';
}

/** A paused VM sends nothing, so no resynchronization starts automatically. An operator may still request one. */
export const isResyncDue = (item: ProtectedItem, now: string): boolean =>
  !item.paused && resyncState(item, now) === 'due';

/** A failed cycle is always due; the retry ladder decides when it is retried. @param now ISO 8601. */
export function isCycleDue({ phase, resync, paused, cycleDueAt, retry }: ProtectedItem, now: string): boolean {
  if (phase !== 'Protected' || resync || paused || cycleDueAt === undefined) return false;
  return retry !== undefined || toMs(cycleDueAt) <= toMs(now);
}

/** Whether it still needs the primary site. After a committed failover it does not, once its source is fenced. */
export const needsPrimarySide = (item: ProtectedItem): boolean =>
  isProtected(item) &&
  (item.activeSide === 'primary' ||
    item.job !== undefined ||
    item.sourceFence !== undefined ||
    item.leftovers !== undefined);

/** Whether the entity can end: protection never began, or it ended and nothing remains to be done. */
export const isOver = (item: ProtectedItem): boolean =>
  !isProtected(item) && item.pending.length === 0 && item.recentJobs.length > 0;

/** The leftover that must be undone now, because an operator requested it. */
export const wantedLeftover = ({ leftovers }: ProtectedItem): Leftover | undefined =>
  leftovers?.find(({ wanted }) => wanted);

/** Initial replication or its finalizing was cancelled or failed: `retry` starts it again. */
export const seedingStopped = (item: ProtectedItem): boolean =>
  item.phase === 'Seeding' && !item.resync && !item.job && item.pending.length === 0;

/** Whether the VM makes no progress until an operator runs `retry`; a waiting job reports that itself. */
export const standsStill = (item: ProtectedItem): boolean =>
  waitsForPerson(item) || (seedingStopped(item) && item.recentJobs.at(-1)?.outcome !== 'succeeded');

/** Whether its changes are, or should be, sent from its host. */
export const isReplicated = ({ phase, activeSide }: ProtectedItem): boolean =>
  activeSide === 'primary' && (phase === 'Seeding' || phase === 'Protected');

/** Whether its host must be watched: changes come from there, or the source there must still be told not to run. */
export const needsHost = (item: ProtectedItem): boolean => isReplicated(item) || item.sourceFence !== undefined;

/** False if protection never began or has ended. */
export const isProtected = ({ phase, job, leftovers, sourceFence, drill }: ProtectedItem): boolean =>
  phase !== 'Unprotected' ||
  job !== undefined ||
  leftovers !== undefined ||
  sourceFence !== undefined ||
  drill !== undefined;

export const phaseText: Record<Phase, string> = {
  Unprotected: 'not protected',
  Seeding: 'in initial replication',
  Protected: 'protected',
  FailedOver: 'failed over, not committed',
  Committed: 'failed over and committed',
  FailedBack: 'failed back, not committed',
};
