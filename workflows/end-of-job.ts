/** Ends the workflow of a job with the job's outcome, so that the Temporal Web UI shows it. */
import { ApplicationFailure, CancellationScope, CancelledFailure } from '@temporalio/workflow';
import type { Job } from '../domain/job.js';
import { ENTITY_CLOSED } from './entity-closed.js';
import { untilOrAfter } from './wait.js';

/** The cancellation request arrives after the signal with the reason, at most this much later, ms. */
const CANCELLATION_FOLLOWS_MS = 10_000;

/** @param entityClosed the entity could not be told how the job ended. @returns the job if it succeeded. */
export async function endOfJob(job: Job, entityClosed: boolean): Promise<Job> {
  const { state, failure } = job;
  if (entityClosed) throw ApplicationFailure.nonRetryable(ENTITY_CLOSED, 'EntityClosed', job);
  if (state === 'Failed') throw ApplicationFailure.nonRetryable(failure?.message, failure?.code, job);
  if (state === 'Cancelled') {
    // Throws if the request is there, or arrives during the wait.
    await untilOrAfter(() => false, CANCELLATION_FOLLOWS_MS, 'The request for cancellation');
    if (CancellationScope.current().consideredCancelled) throw new CancelledFailure('The job was cancelled');
    throw ApplicationFailure.nonRetryable('The job was cancelled', 'Cancelled', job);
  }
  return job;
}
