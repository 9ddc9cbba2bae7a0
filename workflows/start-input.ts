/**
 * What may close a workflow: only what it was started with, when that makes no sense. Everything else that was not expected
 * fails its task. A task is tried again, `doctor` tells of it, and a worker that is mended goes on from there; a workflow
 * that has failed would be gone for good, with what it looked after.
 */
import { ApplicationFailure } from '@temporalio/workflow';
import { TemporalFailure } from '@temporalio/common';
import type { z } from 'zod';
import { readCarried } from '../domain/carried.js';
import { migrate } from '../domain/state-version.js';

/**
 * Fields that this code does not know are kept, for the newer one that wrote them.
 * @param carried by an earlier run, which could read it: then it is this code that can't. @throws ApplicationFailure InvalidInput
 */
export function startInput<S extends z.ZodType>(schema: S, raw: unknown, carried: unknown): z.infer<S> {
  const input = readCarried(schema, raw);
  if (input.success) return input.data;
  const problem = input.error.issues.map(({ path, message }) => `${path.join('.')}: ${message}`).join('; ');
  if (carried !== undefined) throw new Error(`This worker can't read the state left by an earlier run: ${problem}`);
  throw ApplicationFailure.nonRetryable(problem, 'InvalidInput');
}

/** With the state that an earlier run left, as this code writes it. */
export const migratedInput = <I extends { readonly item?: unknown }>(raw: I): I =>
  raw?.item === undefined ? raw : { ...raw, item: migrate(raw.item) };

/** What nobody expected. @returns an error that fails the task, not the workflow. */
export const unexpected = (error: unknown): unknown =>
  error instanceof TemporalFailure ? new Error(`Unexpected error: ${error.message}`, { cause: error }) : error;

/** Runs what is never to end by a failure. */
export async function neverFailing<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    throw unexpected(error);
  }
}
