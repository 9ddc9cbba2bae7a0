/** Changing the recovery point of a failed-over VM: the choice, and the result. */
import { z } from 'zod';
import { nameSchema } from './ids.js';
import { replicaVmStateSchema, writtenDiskSchema } from './replica-vm.js';
import { formatSeconds, isoTimeSchema, secondsBetween, toMs } from './time.js';
import { recoveryPointSchema } from './vault.js';

export const pointChangeSchema = z.object({
  /** The epoch under which the new replica VM will run: higher than any that the store has seen. */
  epoch: z.int(),
  /** The point that the replica VM was made from. */
  from: z.object({ id: z.string(), time: isoTimeSchema }),
  to: recoveryPointSchema.pick({ id: true, time: true, kind: true, tags: true, suspect: true }),
  replicaVm: replicaVmStateSchema,
});
export type PointChange = z.infer<typeof pointChangeSchema>;

export const pointChangeResultSchema = z.object({
  recoveryPoint: z.string(),
  recoveryPointTime: isoTimeSchema,
  replacedPoint: z.string(),
  replacedPointTime: isoTimeSchema,
  /** The writes that were discarded with the former replica VM. */
  discarded: z.array(writtenDiskSchema),
  /** Why it is unknown how much was discarded. */
  discardedProblem: z.string().optional(),
  /** When the new replica VM was running. */
  runningAt: isoTimeSchema,
  replicaDisks: z.array(z.object({ name: nameSchema, nbdUri: z.string().optional() })),
});
export type PointChangeResult = z.infer<typeof pointChangeResultSchema>;

/** The difference between the two points, in a sentence. */
export function differenceText({
  from,
  to,
}: {
  from: { id: string; time: string };
  to: { id: string; time: string };
}): string {
  if (from.id === to.id) return 'This is the recovery point that it runs from: it starts again from there.';
  const ms = toMs(to.time) - toMs(from.time);
  if (ms === 0) return 'Both points are of the same time.';
  const [first, last] = ms < 0 ? [to.time, from.time] : [from.time, to.time];
  const difference = formatSeconds(secondsBetween(first, last));
  return ms < 0
    ? `The new point is ${difference} older: data that the source wrote in that time is no longer there.`
    : `The new point is ${difference} newer: data that the source wrote in that time is there again.`;
}
