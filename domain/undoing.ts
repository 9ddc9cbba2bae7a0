/**
 * The steps that an abandoned job undoes, and its leftovers, such as a source VM that stays off or a VM snapshot that
 * grows. A leftover stays with the VM, and makes it Critical, until it is undone.
 */
import { z } from 'zod';
import { failureSchema, type Failure } from './errors.js';
import { jobKindSchema } from './job.js';
import { isoTimeSchema } from './time.js';

export const undoings = [
  'startSource',
  'mergeSnapshot',
  'stopTracking',
  'startReplica',
  'discardFailback',
  'endFailback',
] as const;
export const undoingSchema = z.enum(undoings);
export type Undoing = (typeof undoings)[number];

export const undoingText: Record<Undoing, string> = {
  startSource: 'start the source VM again',
  mergeSnapshot: 'merge the VM snapshot',
  stopTracking: 'stop tracking',
  startReplica: 'start the replica VM again',
  discardFailback: 'discard the changes received at the primary site',
  endFailback: 'stop tracking the replica VM',
};

/** Reported by a job that ended before it had undone this step. */
export const notUndoneSchema = z.object({ what: undoingSchema, epoch: z.int(), failure: failureSchema });
export type NotUndone = z.infer<typeof notUndoneSchema>;

export const leftoverSchema = notUndoneSchema.extend({
  jobId: z.string(),
  kind: jobKindSchema,
  since: isoTimeSchema,
  /** An operator has run `retry`: the step is undone as soon as the VM is not busy. */
  wanted: z.boolean().optional(),
});
export type Leftover = z.infer<typeof leftoverSchema>;

/** A failure together with its leftovers. */
export function withLeft(failure: Failure, left: readonly NotUndone[] = []): Failure {
  if (left.length === 0) return failure;
  const problems = left.map(({ what, failure: why }) => `${undoingText[what]}: ${why.message}`);
  return { ...failure, message: `${failure.message}; not undone: ${problems.join('; ')}` };
}
