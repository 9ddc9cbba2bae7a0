/**
 * How an entity deals with a running job of its VM: checks whether it still exists, and ends it if another job takes
 * over.
 */
import {
  ApplicationFailure,
  getExternalWorkflowHandle,
  isCancellation,
  type ExternalWorkflowHandle,
} from '@temporalio/workflow';
import type { JobOutcome } from '../domain/job-outcome.js';
import { cancelJobSignal, releaseTaskSignal, retryJobSignal, stillThereSignal } from './messages.js';
import { uncancelled } from './uncancelled.js';
import { untilOrAfter } from './wait.js';

/** A job that has not been heard of for this long is asked whether it still exists, ms. */
export const SILENT_JOB_MS = 10 * 60_000;
/**
 * A job whose own activities hang is waited for no longer than this, ms: the raised epoch makes the stores refuse
 * whatever it still does.
 */
const TAKE_OVER_MS = 20_000;

/**
 * The signal carries the reason; the request makes the server show the job as cancelled when it has ended. Throws if
 * the job is gone.
 */
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

/** A job that was terminated from outside cannot report it, but a signal to it fails. */
export async function isStillThere(jobId: string): Promise<boolean> {
  try {
    await getExternalWorkflowHandle(jobId).signal(stillThereSignal);
    return true;
  } catch (error) {
    if (isCancellation(error)) throw error;
    return false;
  }
}

/** @param onGone called if the job was closed from outside. @throws ApplicationFailure that says so. */
export const askToRetry = (jobId: string, onGone: () => void): Promise<void> =>
  ask(jobId, 'retried', onGone, (job) => job.signal(retryJobSignal));

/** Lets a job that waits before a task continue. As above. */
export const releaseJob = (jobId: string, task: string, onGone: () => void): Promise<void> =>
  ask(jobId, 'continued', onGone, (job) => job.signal(releaseTaskSignal, { task }));

async function ask(
  jobId: string,
  deed: string,
  onGone: () => void,
  signal: (job: ExternalWorkflowHandle) => Promise<void>,
): Promise<void> {
  try {
    await uncancelled(() => signal(getExternalWorkflowHandle(jobId)));
  } catch (error) {
    if (isCancellation(error)) throw error;
    onGone();
    throw ApplicationFailure.nonRetryable(
      `the job ${jobId} was closed from outside, so it cannot be ${deed}. Check the VM at both sites before you continue; \`farshore vm show\` shows its current state`,
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
