/** Where a job waits until the plan run that asked for it lets it go on. */
import { getExternalWorkflowHandle, isCancellation } from '@temporalio/workflow';
import type { Job } from '../domain/job.js';
import { jobHeldSignal } from './messages.js';
import { isStillThere } from './running-job.js';
import { untilOrAfter } from './wait.js';

/** The plan run is asked this often whether it is still there, ms. */
const ASK_PLAN_MS = 2 * 60_000;

/**
 * @param isFree released, or taken over from.
 * @param continueIfLong called now and then.
 * @returns false when the plan run is not there any more.
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
