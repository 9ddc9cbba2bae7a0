/**
 * The pair of numbers that fences everything: (epoch, sequence). The epoch rises whenever the right to write passes to
 * another writer (enable, resynchronize, failover, failback, reverse); the sequence rises with each replication cycle.
 * A writer with an older pair than the recorded one is refused.
 */
import { z } from 'zod';

export const fenceSchema = z.object({ epoch: z.int().min(0), sequence: z.int().min(0) });
export type Fence = z.infer<typeof fenceSchema>;

/** Higher than the sequence of any cycle. */
export const LAST_SEQUENCE = 2 ** 32 - 1;

/** Negative when `a` is older than `b`, 0 when equal. */
export const compareFences = (a: Fence, b: Fence): number => a.epoch - b.epoch || a.sequence - b.sequence;

export const formatFence = (fence: Fence): string => `epoch ${fence.epoch}, sequence ${fence.sequence}`;

/** The fence's sequence in an epoch once the epoch's copy is complete; also the sequence of the first cycle. */
export const SEEDED_SEQUENCE = 1;
