/** What a job makes of a signal that reached nobody. */
import { isCancellation } from '@temporalio/workflow';
import { toFailure } from '../domain/errors.js';
import { StepFailure } from './step-failure.js';

export const ENTITY_CLOSED = 'The protection workflow of this VM is closed, so this job could not report to it';

/** No step of the job failed, and none can be tried again: the job ends by it. */
export class EntityClosed extends StepFailure {
  constructor() {
    super(toFailure('InvalidVmState', ENTITY_CLOSED));
  }
}

/** Only another cancellation may pass: everything else says that the entity is closed. */
export function entityClosed(error: unknown): never {
  if (isCancellation(error)) throw error;
  throw new EntityClosed();
}

export const ignoreClosed = (error: unknown): void => {
  if (isCancellation(error)) throw error;
};
