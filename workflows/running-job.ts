/** What an entity does about a job of its VM that runs: asks whether it still exists, ends it when another takes over. */
import {
  ApplicationFailure,
  getExternalWorkflowHandle,
  isCancellation,
  type ExternalWorkflowHandle,
} from '@temporalio/workflow';
import type { JobOutcome } from '../domain/job-outcome.js';
import { cancelJobSignal, retryJobSignal, stillThereSignal } from './messages.js';
import { uncancelled } from './uncancelled.js';
import { untilOrAfter } from './wait.js';

/** A job whose own activities hang is not waited for longer: what it still does is refused by the raised epoch. ms. */
const TAKE_OVER_MS = 20_000;

/** The signal says why; the request has the server show the job as cancelled once it has ended. Throws when it is gone. */
export async function cancelJob(
  job: ExternalWorkflowHandle,
  why: { reason: string; superseded?: boolean },
): Promise<void> {
  await job.signal(cancelJobSignal, why);
  await job.cancel();
}

/** Ends a job that another one takes over from. Resolves when it is gone, or after a while if it stays. */
export async function supersede(jobId: string, isGone: () => boolean): Promise<void> {
  try {
    const reason = 'an unplanned failover takes over';
    await cancelJob(getExternalWorkflowHandle(jobId), { reason, superseded: true });
  } catch (error) {
    if (isCancellation(error)) throw error;
    return;
  }
  await untilOrAfter(isGone, TAKE_OVER_MS, 'Wait for the running job to end');
}

/** A job that was terminated from outside can't tell; a signal to it fails then. */
export async function isStillThere(jobId: string): Promise<boolean> {
  try {
    await getExternalWorkflowHandle(jobId).signal(stillThereSignal);
    return true;
  } catch (error) {
    if (isCancellation(error)) throw error;
    return false;
  }
}

/** @param onGone told of a job that was closed from outside. @throws ApplicationFailure that says so then. */
export async function askToRetry(jobId: string, onGone: () => void): Promise<void> {
  try {
    await uncancelled(() => getExternalWorkflowHandle(jobId).signal(retryJobSignal));
  } catch (error) {
    if (isCancellation(error)) throw error;
    onGone();
    throw ApplicationFailure.nonRetryable(
      `the job ${jobId} was closed from outside, so it cannot be retried. Check the VM at both sites before you continue; \`farshore vm show\` shows its current state`,
      'OperationNotAllowed',
    );
  }
}

export const closedFromOutside = (): JobOutcome => ({
  outcome: 'failed',
  failure: {
    code: 'Unexpected',
    class: 'nonRecoverable',
    message: 'The job was closed from outside',
    remedy: 'Check the VM at both sites before you continue.',
  },
  closedFromOutside: true,
});
