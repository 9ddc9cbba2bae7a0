/** Jobs: everything that is done to a VM is one, with named tasks, as the portal of the field shows them. */
import { z } from 'zod';
import { failureSchema } from './errors.js';
import { isoTimeSchema, toIso, toMs } from './time.js';

export const jobKinds = [
  'enableProtection',
  'initialReplication',
  'finalizeProtection',
  'resynchronize',
  'plannedFailover',
  'unplannedFailover',
  'commitFailover',
  'disableProtection',
  'verifyReplica',
] as const;
export const jobKindSchema = z.enum(jobKinds);
export type JobKind = z.infer<typeof jobKindSchema>;

export const jobTitles: Record<JobKind, string> = {
  enableProtection: 'Enable protection',
  initialReplication: 'Initial replication',
  finalizeProtection: 'Finalize protection on the virtual machine',
  resynchronize: 'Resynchronize',
  plannedFailover: 'Planned failover',
  unplannedFailover: 'Unplanned failover',
  commitFailover: 'Commit',
  disableProtection: 'Disable protection',
  verifyReplica: 'Verify replication',
};

/** The tasks of each job, in order; names as the product shows them. */
export const jobTasks = {
  enableProtection: [
    'Prerequisites check for enabling protection',
    'Identifying the replication target',
    'Enable replication',
    'Starting initial replication',
    'Updating the provider states',
  ],
  initialReplication: [
    'Copying the virtual disks',
    'Verifying the replica',
    'Deleting the VM snapshot',
    'Synchronizing the changes held in the logs',
  ],
  finalizeProtection: ['Finalize protection on the virtual machine'],
  resynchronize: [
    'Prerequisites check for resynchronization',
    'Identifying the replication target',
    'Starting resynchronization',
    'Comparing the virtual disks',
    'Verifying the replica',
    'Deleting the VM snapshot',
    'Synchronizing the changes held in the logs',
  ],
  plannedFailover: [
    'Prerequisites check for planned failover',
    'Shut down the virtual machine',
    'Preparing for failover',
    'Start failover',
    'Start the replica virtual machine',
  ],
  unplannedFailover: [
    'Prerequisites check for unplanned failover',
    'Shut down the virtual machine',
    'Preparing for failover',
    'Start failover',
    'Start the replica virtual machine',
  ],
  commitFailover: ['Prerequisites check for commit', 'Commit'],
  disableProtection: ['Disabling protection at the primary site', 'Removing the replica'],
  verifyReplica: [
    'Synchronizing the changes held in the logs',
    'Taking a VM snapshot',
    'Comparing the virtual disks',
    'Deleting the VM snapshot',
  ],
} as const satisfies Record<JobKind, readonly string[]>;
export type TaskName<K extends JobKind = JobKind> = (typeof jobTasks)[K][number];

/**
 * The job that follows by itself when the given one has succeeded.
 * @param phase of the VM after it; a resynchronization may have stood in for the end of an initial replication.
 */
export function followUpOf(kind: JobKind, phase: string): JobKind | undefined {
  if (kind === 'enableProtection') return 'initialReplication';
  if (kind === 'initialReplication' || (kind === 'resynchronize' && phase === 'Seeding')) return 'finalizeProtection';
  return undefined;
}

/** What an administrator may choose for a job; each kind reads its own. */
export const jobParametersSchema = z.strictObject({
  /**
   * Unplanned failover: the state to go back to. `latest` processes first what has been received, `latest-processed`
   * takes what the replica holds, anything else is the id of a recovery point. Left out: `latest`.
   */
  recoveryPoint: z.string().min(1).max(63).optional(),
  /** Unplanned failover: try, for a while, to shut the source down and to fetch its last changes. */
  tryShutDown: z.boolean().optional(),
  /** Disable protection: the replica's disks and recovery points stay. */
  keepReplica: z.boolean().exactOptional(),
  /** Disable protection: the primary site does not exist any more and is not asked. */
  primaryLost: z.boolean().exactOptional(),
});
export type JobParameters = z.infer<typeof jobParametersSchema>;

/** Where a step stands on the ladder after a failure. Without `nextTryAt` it waits for the administrator's `retry`. */
export const retryStateSchema = z.object({
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

export const taskStates = ['NotStarted', 'InProgress', 'Succeeded', 'Failed', 'Cancelled'] as const;
const taskSchema = z.object({
  name: z.string(),
  state: z.enum(taskStates),
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
  failure: failureSchema.optional(),
  /** What the job found out: for a failover, the numbers that prove that nothing was lost. */
  result: z.record(z.string(), z.unknown()).optional(),
});
export type Job = z.infer<typeof jobSchema>;

export const newJob = (kind: JobKind, id: string, vault: string, vm: string, startedAt: string): Job => ({
  id,
  kind,
  vault,
  vm,
  state: 'InProgress',
  startedAt,
  tasks: jobTasks[kind].map((name) => ({ name, state: 'NotStarted' })),
});

export const currentTask = (job: Job): Task | undefined => job.tasks.find((task) => task.state === 'InProgress');

/**
 * When the task that copies will have ended, if it goes on as fast as until now. @param now ISO 8601.
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

/** Per disk: what the source issued and what the replica holds. Equal numbers: nothing was lost. */
export const failoverResultSchema = z.object({
  recoveryPoint: z.string(),
  /** The instant the replica is at. */
  recoveryPointTime: isoTimeSchema,
  exportsClosedAt: isoTimeSchema,
  sealedAt: isoTimeSchema,
  rpoSeconds: z.number(),
  rtoSeconds: z.number(),
  disks: z.array(z.object({ name: z.string(), lastWriteIssued: z.number(), lastWriteApplied: z.number() })),
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
  /** From the recovery point to `failedOverAt`: what was written in between is lost. */
  rpoSeconds: z.number(),
  rtoSeconds: z.number(),
  /** Received cycles that were applied before. */
  cyclesProcessed: z.int().min(0),
  /** Why not every received cycle could be applied. */
  processingStoppedBy: z.string().optional(),
  shutDown: z.enum(['notTried', 'done', 'failed']),
  shutDownProblem: z.string().optional(),
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
