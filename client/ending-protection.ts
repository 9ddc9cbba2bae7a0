import { setTimeout as sleep } from 'node:timers/promises';
import { ApplicationFailure, WorkflowNotFoundError, WorkflowUpdateFailedError } from '@temporalio/client';
import { PROTECTION_ENDING } from '../workflows/messages.js';
import { RefusedError } from './errors.js';

const POLL_MS = 100;

/**
 * Starts protecting a VM. If an existing protection entity is just ending, it accepts no more requests; then a new one
 * is started.
 */
export async function unlessEnding<T>(begin: () => Promise<T>): Promise<T> {
  for (;;) {
    try {
      return await begin();
    } catch (error) {
      if (!wasEnding(error)) throw error;
      await sleep(POLL_MS);
    }
  }
}

/** Whether the request was refused because the VM's protection was ending, or has ended in the meantime. */
const wasEnding = (error: unknown): boolean =>
  error instanceof RefusedError &&
  (error.cause instanceof WorkflowNotFoundError ||
    (error.cause instanceof WorkflowUpdateFailedError &&
      error.cause.cause instanceof ApplicationFailure &&
      error.cause.cause.type === PROTECTION_ENDING));
