/**
 * Only an invalid start input may close a workflow. Any other unexpected error fails its task instead: the server
 * repeats the task, `doctor` reports it, and a corrected worker continues from there. A failed workflow would be gone
 * for good, together with the protection it managed.
 */
import { ApplicationFailure } from '@temporalio/workflow';
import { TemporalFailure } from '@temporalio/common';
import type { z } from 'zod';
import { readCarried } from '../domain/carried.js';
import { migrate } from '../domain/state-version.js';

/**
 * Keeps fields that this code does not know, for the newer code that wrote them.
 * @param carried state of an earlier run that could read it; if this code cannot, the fault is in the code. @throws
 * ApplicationFailure InvalidInput
 */
export function startInput<S extends z.ZodType>(schema: S, raw: unknown, carried: unknown): z.infer<S> {
  const input = readCarried(schema, raw);
  if (input.success) return input.data;
  const problem = input.error.issues.map(({ path, message }) => `${path.join('.')}: ${message}`).join('; ');
  if (carried !== undefined) throw new Error(`This worker can't read the state left by an earlier run: ${problem}`);
  throw ApplicationFailure.nonRetryable(problem, 'InvalidInput');
}

/** The input with the state of an earlier run migrated to the current version. */
export const migratedInput = <I extends { readonly item?: unknown }>(raw: I): I =>
  raw?.item === undefined ? raw : { ...raw, item: migrate(raw.item) };

/** An unexpected error. @returns an error that fails the task, not the workflow. */
export const unexpected = (error: unknown): unknown =>
  error instanceof TemporalFailure ? new Error(`Unexpected error: ${error.message}`, { cause: error }) : error;

/** Runs work that must never end the workflow by a failure. */
export async function neverFailing<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    throw unexpected(error);
  }
}
