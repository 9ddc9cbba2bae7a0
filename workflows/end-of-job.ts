/** How the workflow of a job ends: as its job did, so that the Temporal Web UI shows it so. */
import { ApplicationFailure, CancellationScope, CancelledFailure } from '@temporalio/workflow';
import type { Job } from '../domain/job.js';
import { ENTITY_CLOSED } from './entity-closed.js';
import { untilOrAfter } from './wait.js';

/** A request for cancellation follows the signal that says why; ms. */
const CANCELLATION_FOLLOWS_MS = 10_000;

/** @param entityClosed nobody has learnt of the end. @returns the job when it has succeeded. */
export async function endOfJob(job: Job, entityClosed: boolean): Promise<Job> {
  const { state, failure } = job;
  if (entityClosed) throw ApplicationFailure.nonRetryable(ENTITY_CLOSED, 'EntityClosed', job);
  if (state === 'Failed') throw ApplicationFailure.nonRetryable(failure?.message, failure?.code, job);
  if (state === 'Cancelled') {
    // Throws when the request is there, or comes.
    await untilOrAfter(() => false, CANCELLATION_FOLLOWS_MS, 'The request for cancellation');
    if (CancellationScope.current().consideredCancelled) throw new CancelledFailure('The job was cancelled');
    throw ApplicationFailure.nonRetryable('The job was cancelled', 'Cancelled', job);
  }
  return job;
}
