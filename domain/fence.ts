/**
 * The one number that fences everything: (epoch, sequence). The epoch rises whenever the right to write changes hands
 * (enable, resynchronize, failover, failback, reverse); the sequence rises with each replication cycle. Whoever
 * carries an older pair than the one recorded is refused.
 */
import { z } from 'zod';

export const fenceSchema = z.object({ epoch: z.int().min(0), sequence: z.int().min(0) });
export type Fence = z.infer<typeof fenceSchema>;

/** Above every sequence that a cycle may get. */
export const LAST_SEQUENCE = 2 ** 32 - 1;

/** Negative when `a` is older than `b`, 0 when equal. */
export const compareFences = (a: Fence, b: Fence): number => a.epoch - b.epoch || a.sequence - b.sequence;

export const formatFence = (fence: Fence): string => `epoch ${fence.epoch}, sequence ${fence.sequence}`;

/** The sequence of an epoch's fence from when its copy is complete. It is that of the first cycle, too. */
export const SEEDED_SEQUENCE = 1;
