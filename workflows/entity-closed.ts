/** How a job reacts when a signal does not reach its entity. */
import { isCancellation } from '@temporalio/workflow';
import { toFailure } from '../domain/errors.js';
import { StepFailure } from './step-failure.js';

export const ENTITY_CLOSED = 'The protection workflow of this VM is closed, so this job could not report to it';

/** Ends the job, although none of its steps failed: there is nothing to retry. */
export class EntityClosed extends StepFailure {
  constructor() {
    super(toFailure('InvalidVmState', ENTITY_CLOSED));
  }
}

/** Passes cancellations on; any other error means that the entity is closed. */
export function entityClosed(error: unknown): never {
  if (isCancellation(error)) throw error;
  throw new EntityClosed();
}

export const ignoreClosed = (error: unknown): void => {
  if (isCancellation(error)) throw error;
};
