/** What a job makes of a signal that reached nobody. */
import { isCancellation } from '@temporalio/workflow';
import { toFailure } from '../domain/errors.js';
import { StepFailure } from './step-failure.js';

export const ENTITY_CLOSED = 'The protection entity of this VM is closed, so nobody would learn of this job';

/** Only another cancellation may pass: everything else says that the entity is closed. */
export function entityClosed(error: unknown): never {
  if (isCancellation(error)) throw error;
  throw new StepFailure(toFailure('InvalidVmState', ENTITY_CLOSED));
}

export const ignoreClosed = (error: unknown): void => {
  if (isCancellation(error)) throw error;
};
