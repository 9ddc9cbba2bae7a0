/** Where a job waits until its plan run releases it. */
import { getExternalWorkflowHandle, isCancellation } from '@temporalio/workflow';
import type { Job } from '../domain/job.js';
import { jobHeldSignal } from './messages.js';
import { isStillThere } from './running-job.js';
import { untilOrAfter } from './wait.js';

/** How often the job asks whether the plan run still exists, ms. */
const ASK_PLAN_MS = 2 * 60_000;

/**
 * @param isFree released, or another job has taken over.
 * @param continueIfLong called from time to time.
 * @returns false if the plan run no longer exists.
 */
export async function waitAtGate(
  { id: jobId, vm }: Job,
  planRun: string,
  task: string,
  isFree: () => boolean,
  continueIfLong: () => Promise<void>,
): Promise<boolean> {
  try {
    await getExternalWorkflowHandle(planRun).signal(jobHeldSignal, { vm, jobId, task });
  } catch (error) {
    if (isCancellation(error)) throw error;
    return false;
  }
  while (!(await untilOrAfter(isFree, ASK_PLAN_MS, 'Check whether the plan run still exists'))) {
    await continueIfLong();
    if (!(await isStillThere(planRun)) && !isFree()) return false;
  }
  return true;
}
