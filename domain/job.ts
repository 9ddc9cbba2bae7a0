/** Jobs: everything that is done to a VM is one, with named tasks, as the portal of the field shows them. */
import { z } from 'zod';
import { failureSchema } from './errors.js';
import type { JobKind } from './jobs/known-jobs.js';
import { isoTimeSchema, toIso, toMs } from './time.js';

/** One that a newer version knows has a name as well: what it says is carried on. */
export const jobKindSchema = z.string().min(1) as unknown as z.ZodType<JobKind, string>;

/** What an administrator may choose for a job; each kind reads its own. */
export const jobParametersSchema = z.strictObject({
  /**
   * Unplanned failover: the state to go back to. `latest` processes first what has been received, `latest-processed`
   * takes what the replica holds, anything else is the id of a recovery point. Left out: `latest`.
   */
  recoveryPoint: z.string().min(1).max(63).optional(),
  /** Unplanned failover: try, for a while, to shut the source down and to fetch its last changes. */
  tryShutDown: z.boolean().optional(),
  /** Unplanned failover: when its host gave the last sign of life that is known; left out while it answers. */
  hostSeenAt: isoTimeSchema.exactOptional(),
  /** Unplanned failover: from when on its host did not answer any more; left out while it answers. */
  hostSilentAt: isoTimeSchema.exactOptional(),
  /** Unplanned failover: how far the clock of its host is ahead of the server's. */
  hostClockAheadMs: z.int().exactOptional(),
  /** Unplanned failover: when it was decided on. Left out: when its job began. */
  declaredAt: isoTimeSchema.exactOptional(),
  /** Disable protection: the replica's disks and recovery points stay. */
  keepReplica: z.boolean().exactOptional(),
  /** Disable protection: the primary site does not exist any more and is not asked. */
  primaryLost: z.boolean().exactOptional(),
});
export type JobParameters = z.infer<typeof jobParametersSchema>;

/** Where a step stands on the ladder after a failure. Without `nextTryAt` it waits for the administrator's `retry`. */
export const retryStateSchema = z.object({
  /** Which step: another one, as that of the next cycle, begins on the first rung. */
  step: z.string().optional(),
  failure: failureSchema,
  /** Attempts that have failed since the last progress. */
  attempt: z.int().min(1),
  since: isoTimeSchema,
  nextTryAt: isoTimeSchema.optional(),
});
export type RetryState = z.infer<typeof retryStateSchema>;

/** True of what stands still until an administrator does something and asks for `retry`. */
export const waitsForPerson = ({ retry }: { readonly retry?: RetryState | undefined }): boolean =>
  retry !== undefined && retry.nextTryAt === undefined;

export const progressSchema = z.object({
  bytesDone: z.number().min(0),
  bytesTotal: z.number().min(0),
  /** What crossed of it: holes, zeroes and blocks that are equal did not. */
  bytesSent: z.number().min(0).optional(),
});

/** `Skipped`: there was nothing to be done, or it was not wanted. What failed need not end the job: its state says that. */
export const taskStates = ['NotStarted', 'InProgress', 'Succeeded', 'Skipped', 'Failed', 'Cancelled'] as const;
const taskSchema = z.object({
  name: z.string(),
  state: z.enum(taskStates),
  /** Why it was skipped, or has failed though the job went on. */
  reason: z.string().optional(),
  startedAt: isoTimeSchema.optional(),
  endedAt: isoTimeSchema.optional(),
});
export type Task = z.infer<typeof taskSchema>;

export const jobSchema = z.object({
  id: z.string(),
  kind: jobKindSchema,
  vault: z.string(),
  vm: z.string(),
  /** The plan run it belongs to. */
  planRun: z.string().optional(),
  state: z.enum(['InProgress', 'Succeeded', 'Failed', 'Cancelled']),
  startedAt: isoTimeSchema,
  endedAt: isoTimeSchema.optional(),
  tasks: z.array(taskSchema),
  progress: progressSchema.optional(),
  /** Set while a step is failing: which attempt, and when the next one is. */
  retry: retryStateSchema.optional(),
  /** The task it holds before, until the plan releases it. */
  heldBefore: z.string().optional(),
  /** What it undoes just now, given up. */
  undoing: z.string().optional(),
  failure: failureSchema.optional(),
  /** What the job found out: for a failover, the numbers that prove that nothing was lost. */
  result: z.record(z.string(), z.unknown()).optional(),
});
export type Job = z.infer<typeof jobSchema>;

export const currentTask = (job: Job): Task | undefined => job.tasks.find((task) => task.state === 'InProgress');

/**
 * Expected end of the task that copies, at its speed so far. @param now ISO 8601.
 * @returns ISO 8601; undefined while there is nothing to go by.
 */
export function expectedEnd(job: Job, now: string): string | undefined {
  const { startedAt } = currentTask(job) ?? {};
  const { progress } = job;
  if (startedAt === undefined || !progress || progress.bytesDone === 0 || job.retry) return undefined;
  const { bytesDone, bytesTotal } = progress;
  if (bytesDone >= bytesTotal) return undefined;
  const spentMs = toMs(now) - toMs(startedAt);
  return toIso(toMs(now) + Math.round((spentMs * (bytesTotal - bytesDone)) / bytesDone));
}

/** Per disk: what the source's tracker had taken and what the replica holds. Equal numbers: nothing was lost. */
const comparedDisksSchema = z.array(
  z.object({ name: z.string(), lastWriteIssued: z.number(), lastWriteApplied: z.number() }),
);

export const failoverResultSchema = z.object({
  recoveryPoint: z.string(),
  /** The instant the replica is at. */
  recoveryPointTime: isoTimeSchema,
  exportsClosedAt: isoTimeSchema,
  sealedAt: isoTimeSchema,
  rpoSeconds: z.number(),
  rtoSeconds: z.number(),
  disks: comparedDisksSchema,
  /** Where the replica VM's disks are served. */
  replicaDisks: z.array(z.object({ name: z.string(), nbdUri: z.string().optional() })),
});
export type FailoverResult = z.infer<typeof failoverResultSchema>;

/** What an unplanned failover went back to, and what that cost. */
export const unplannedFailoverResultSchema = z.object({
  recoveryPoint: z.string(),
  /** The instant the replica is at. */
  recoveryPointTime: isoTimeSchema,
  /** When the source lost the right to write. */
  failedOverAt: isoTimeSchema,
  /** The host's last sign of life; undefined when it answered. */
  hostSeenAt: isoTimeSchema.optional(),
  /** From when on it did not answer any more. */
  hostSilentAt: isoTimeSchema.optional(),
  /** How far the host's clock, which `recoveryPointTime` is by, is ahead of the one that all other times are by. */
  hostClockAheadMs: z.int().optional(),
  declaredAt: isoTimeSchema.optional(),
  /** When the replica VM ran. */
  runningAt: isoTimeSchema.optional(),
  /**
   * From the recovery point to `hostSilentAt`: the most that may be lost, unless the host went on writing unseen. Of a host
   * that answered: to `failedOverAt`.
   */
  rpoSeconds: z.number(),
  /** From the decision until the replica VM ran. */
  rtoSeconds: z.number(),
  /** From the host's last sign of life until the replica VM ran. */
  outageSeconds: z.number().optional(),
  /** Received cycles that were applied before. */
  cyclesProcessed: z.int().min(0),
  /** Why not every received cycle could be applied. */
  processingStoppedBy: z.string().optional(),
  /** `done`: the source was shut down, and everything that it had written was sent. */
  shutDown: z.enum(['notTried', 'done', 'failed']),
  shutDownProblem: z.string().optional(),
  /** Where the shutdown was done. Equal numbers on each disk: nothing was lost. */
  disks: comparedDisksSchema.optional(),
  /** Where the replica VM's disks are served. */
  replicaDisks: z.array(z.object({ name: z.string(), nbdUri: z.string().optional() })),
});
export type UnplannedFailoverResult = z.infer<typeof unplannedFailoverResultSchema>;

/** What a verification found. */
export const verifyResultSchema = z.object({
  equal: z.boolean(),
  /** The cycle at which both sides were compared, and its instant. */
  sequence: z.int(),
  at: isoTimeSchema,
  /** Blocks of 64 KiB. */
  blocks: z.int(),
  differingBlocks: z.int(),
  /** All of them; not all need to be in `ranges`. */
  differingRanges: z.int(),
  ranges: z.array(z.object({ disk: z.string(), offset: z.int(), length: z.int() })),
});
export type VerifyResult = z.infer<typeof verifyResultSchema>;
