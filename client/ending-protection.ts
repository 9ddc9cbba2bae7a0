import { setTimeout as sleep } from 'node:timers/promises';
import { ApplicationFailure, WorkflowNotFoundError, WorkflowUpdateFailedError } from '@temporalio/client';
import { PROTECTION_ENDING } from '../workflows/messages.js';
import { RefusedError } from './errors.js';

const POLL_MS = 100;

/** Begins a protection. One that was there already, and is just ending, takes nothing any more: then another is begun. */
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

/** Was it refused because the VM's protection was ending, or has ended in between? */
const wasEnding = (error: unknown): boolean =>
  error instanceof RefusedError &&
  (error.cause instanceof WorkflowNotFoundError ||
    (error.cause instanceof WorkflowUpdateFailedError &&
      error.cause.cause instanceof ApplicationFailure &&
      error.cause.cause.type === PROTECTION_ENDING));
