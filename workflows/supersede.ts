/** Ends a job that another one takes over from. */
import { condition, getExternalWorkflowHandle, isCancellation } from '@temporalio/workflow';
import { cancelJobSignal } from './messages.js';

/** A job whose own activities hang is not waited for longer: what it still does is refused by the raised epoch. ms. */
const TAKE_OVER_MS = 20_000;

/** Resolves when the job is gone, or after a while if it stays. */
export async function supersede(jobId: string, isGone: () => boolean): Promise<void> {
  try {
    const reason = 'an unplanned failover takes over';
    await getExternalWorkflowHandle(jobId).signal(cancelJobSignal, { reason, superseded: true });
  } catch (error) {
    if (isCancellation(error)) throw error;
    return;
  }
  await condition(isGone, TAKE_OVER_MS, { summary: 'Time for the running job to end' });
}
