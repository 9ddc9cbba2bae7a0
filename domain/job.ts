/** Jobs: every operation on a VM is a job with named tasks, as in Azure's portal. */
import { z } from 'zod';
import { LONGEST_DRILL_SECONDS, SHORTEST_DRILL_SECONDS } from './drill-limits.js';
import { failureSchema } from './errors.js';
import type { JobKind } from './jobs/known-jobs.js';
import { isoTimeSchema, toIso, toMs } from './time.js';

/** Kinds that only a newer version knows are accepted too: their records are passed on. */
export const jobKindSchema = z.string().min(1) as unknown as z.ZodType<JobKind, string>;

/** Why an operator requests a job. */
export const reasonSchema = z.string().trim().min(1).max(500);

/** What an operator may choose for a job; each kind reads its own fields. */
export const jobParametersSchema = z.strictObject({
  /**
   * Unplanned failover: the state to fail over to. `latest` first processes what has been received, `latest-processed`
   * takes what the replica holds, anything else is the ID of a recovery point. Default: `latest`.
   * Change recovery point: the new point; `latest` and `latest-processed` are the newest one.
   * Test failover: `latest`, `latest-app-consistent`, or the ID or name of a recovery point.
   */
  recoveryPoint: z.string().min(1).max(63).optional(),
  /** Unplanned failover: try for a limited time to shut the source down and to fetch its last changes. */
  tryShutDown: z.boolean().optional(),
  /** Unplanned failover: time of the host's last known sign of life; absent while the host answers. */
  hostSeenAt: isoTimeSchema.exactOptional(),
  /** Unplanned failover: time from which the host did not answer; absent while it answers. */
  hostSilentAt: isoTimeSchema.exactOptional(),
  /** Unplanned failover: how far the host's clock is ahead of the server's. */
  hostClockAheadMs: z.int().exactOptional(),
  /** Unplanned failover: when an operator decided on it. Default: when its job began. */
  declaredAt: isoTimeSchema.exactOptional(),
  /** Why the operator requested the job. Kept in its record. */
  reason: reasonSchema.exactOptional(),
  /**
   * Failback: whether the changes are synchronized before the replica VM is shut down, and the job then waits for an
   * operator; or while it is off. Default: `before`.
   */
  synchronize: z.enum(['before', 'during']).exactOptional(),
  /** Disable protection: keep the replica's disks and recovery points. */
  keepReplica: z.boolean().exactOptional(),
  /** Disable protection: the primary site no longer exists, so it is not asked. */
  primaryLost: z.boolean().exactOptional(),
  /** Test failover: time after which the test VM is deleted. */
  cleanUpAfterSeconds: z.int().min(SHORTEST_DRILL_SECONDS).max(LONGEST_DRILL_SECONDS).exactOptional(),
  /** Test failover cleanup: the operator's notes on the test. */
  notes: z.string().min(1).max(2_000).exactOptional(),
});
export type JobParameters = z.infer<typeof jobParametersSchema>;

/** Where a step is on the retry ladder after a failure. Without `nextTryAt` it waits for an operator to run `retry`. */
export const retryStateSchema = z.object({
  /** The failed step; a different step, such as that of the next cycle, begins on the first rung. */
  step: z.string().optional(),
  failure: failureSchema,
  /** Failed attempts since the last progress. */
  attempt: z.int().min(1),
  since: isoTimeSchema,
  nextTryAt: isoTimeSchema.optional(),
});
export type RetryState = z.infer<typeof retryStateSchema>;

/** Whether a VM or job makes no progress until an operator fixes something and runs `retry`. */
export const waitsForPerson = ({ retry }: { readonly retry?: RetryState | undefined }): boolean =>
  retry !== undefined && retry.nextTryAt === undefined;

export const progressSchema = z.object({
  bytesDone: z.number().min(0),
  bytesTotal: z.number().min(0),
  /** Bytes that were transferred: holes, zeroes and equal blocks were not. */
  bytesSent: z.number().min(0).optional(),
});

/**
 * `Skipped`: there was nothing to do, or the task was not wanted. A `Failed` task need not end the job; the job's state
 * tells.
 */
export const taskStates = ['NotStarted', 'InProgress', 'Succeeded', 'Skipped', 'Failed', 'Cancelled'] as const;
const taskSchema = z.object({
  name: z.string(),
  state: z.enum(taskStates),
  /** Why it was skipped, or why it failed although the job continued. */
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
  /** Why the operator requested it. */
  reason: z.string().optional(),
  state: z.enum(['InProgress', 'Succeeded', 'Failed', 'Cancelled']),
  startedAt: isoTimeSchema,
  endedAt: isoTimeSchema.optional(),
  tasks: z.array(taskSchema),
  progress: progressSchema.optional(),
  /** Set while a step is failing: which attempt, and when the next one is. */
  retry: retryStateSchema.optional(),
  /** The task before which it waits until the plan run lets it continue. */
  heldBefore: z.string().optional(),
  /** The step that it is undoing now, after it was abandoned. */
  undoing: z.string().optional(),
  failure: failureSchema.optional(),
  /** The job's findings: for a failover, the numbers that prove that nothing was lost. */
  result: z.record(z.string(), z.unknown()).optional(),
});
export type Job = z.infer<typeof jobSchema>;

export const currentTask = (job: Job): Task | undefined => job.tasks.find((task) => task.state === 'InProgress');

/**
 * Expected end of the task that copies data, estimated from its speed so far.
 * @param now ISO 8601.
 * @returns ISO 8601; undefined while there is nothing to estimate from.
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

/**
 * For each disk, the number of the last write that the source's tracker took and of the last write that the replica
 * holds. If they are equal, nothing was lost.
 */
const comparedDisksSchema = z.array(
  z.object({ name: z.string(), lastWriteIssued: z.number(), lastWriteApplied: z.number() }),
);

export const failoverResultSchema = z.object({
  recoveryPoint: z.string(),
  /** The instant of the replica's state. */
  recoveryPointTime: isoTimeSchema,
  exportsClosedAt: isoTimeSchema,
  sealedAt: isoTimeSchema,
  rpoSeconds: z.number(),
  rtoSeconds: z.number(),
  disks: comparedDisksSchema,
  /** For each disk of the replica VM, where it is served. */
  replicaDisks: z.array(z.object({ name: z.string(), nbdUri: z.string().optional() })),
});
export type FailoverResult = z.infer<typeof failoverResultSchema>;

/** The state that an unplanned failover went back to, and the resulting data loss and downtime. */
export const unplannedFailoverResultSchema = z.object({
  recoveryPoint: z.string(),
  /** The instant of the replica's state. */
  recoveryPointTime: isoTimeSchema,
  /** When the source lost the right to write. */
  failedOverAt: isoTimeSchema,
  /** The host's last sign of life; absent if the host answered. */
  hostSeenAt: isoTimeSchema.optional(),
  /** Time from which the host did not answer. */
  hostSilentAt: isoTimeSchema.optional(),
  /** How far the host's clock, by which `recoveryPointTime` was measured, is ahead of the clock of all other times. */
  hostClockAheadMs: z.int().optional(),
  declaredAt: isoTimeSchema.optional(),
  /** When the replica VM was running. */
  runningAt: isoTimeSchema.optional(),
  /**
   * Time from the recovery point to `hostSilentAt`: the most that may be lost, unless the host went on writing unseen.
   * If the host answered: to `failedOverAt`.
   */
  rpoSeconds: z.number(),
  /** Time from the decision until the replica VM was running. */
  rtoSeconds: z.number(),
  /** Time from the host's last sign of life until the replica VM was running. */
  outageSeconds: z.number().optional(),
  /** Number of received cycles that were applied first. */
  cyclesProcessed: z.int().min(0),
  /** Why not every received cycle could be applied. */
  processingStoppedBy: z.string().optional(),
  /** `done`: the source was shut down, and everything it had written was sent. */
  shutDown: z.enum(['notTried', 'done', 'failed']),
  shutDownProblem: z.string().optional(),
  /** Present if the source was shut down. If the numbers of each disk are equal, nothing was lost. */
  disks: comparedDisksSchema.optional(),
  /** For each disk of the replica VM, where it is served. */
  replicaDisks: z.array(z.object({ name: z.string(), nbdUri: z.string().optional() })),
});
export type UnplannedFailoverResult = z.infer<typeof unplannedFailoverResultSchema>;

export const failbackResultSchema = z.object({
  /** The original disks were known to be unchanged, so that no digests had to be compared. */
  originalUnchanged: z.boolean(),
  /** Bytes of disk content that were sent. */
  bytesSent: z.number(),
  exportsClosedAt: isoTimeSchema,
  sealedAt: isoTimeSchema,
  runningAt: isoTimeSchema,
  /** Time from the shutdown of the replica VM until the VM was running at the primary site. */
  outageSeconds: z.number(),
  /** If the numbers of each disk are equal, nothing was lost. */
  disks: comparedDisksSchema,
});
export type FailbackResult = z.infer<typeof failbackResultSchema>;

/** The findings of a verification. */
export const verifyResultSchema = z.object({
  equal: z.boolean(),
  /** The cycle at which both sites were compared, and the cycle's instant. */
  sequence: z.int(),
  at: isoTimeSchema,
  /** Number of compared blocks, of 64 KiB each. */
  blocks: z.int(),
  differingBlocks: z.int(),
  /** Number of all differing ranges; `ranges` may list only some of them. */
  differingRanges: z.int(),
  ranges: z.array(z.object({ disk: z.string(), offset: z.int(), length: z.int() })),
});
export type VerifyResult = z.infer<typeof verifyResultSchema>;
