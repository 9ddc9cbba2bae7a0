/** Cancelling a failover: what it would do, and its result. */
import { z } from 'zod';
import { replicaVmStateSchema, writtenDiskSchema } from './replica-vm.js';
import { isoTimeSchema } from './time.js';

export const failoverCancellationSchema = z.object({
  replicaVm: replicaVmStateSchema,
  /** The point that the replica VM was made from; unknown if an earlier cancellation ended early. */
  recoveryPoint: z.object({ id: z.string(), time: isoTimeSchema }).optional(),
  source: z.object({
    host: z.string(),
    /** It runs already, beside the replica VM. */
    isRunning: z.boolean(),
  }),
});
export type FailoverCancellation = z.infer<typeof failoverCancellationSchema>;

export const cancelledFailoverResultSchema = z.object({
  /** When the VM was running at the primary site. */
  runningAt: isoTimeSchema,
  /** The writes that were discarded with the replica VM. */
  discarded: z.array(writtenDiskSchema),
  /** Why it is unknown how much was discarded. */
  discardedProblem: z.string().optional(),
  /** Why the replica must be resynchronized. */
  resyncCause: z.string().optional(),
});
export type CancelledFailoverResult = z.infer<typeof cancelledFailoverResultSchema>;

/** Why a VM has to be resynchronized after its failover was cancelled. @param doubt why the replica may differ. */
export const cancelledCause = (doubt: string): string =>
  `its failover was cancelled, and its replica is not certain to equal it: ${doubt}`;
