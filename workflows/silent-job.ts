/** A job that says nothing any more: terminated from outside it can't tell, and a signal to it fails. */
import { getExternalWorkflowHandle, isCancellation } from '@temporalio/workflow';
import type { JobOutcome } from '../domain/transitions.js';
import { stillThereSignal } from './messages.js';

export async function isStillThere(jobId: string): Promise<boolean> {
  try {
    await getExternalWorkflowHandle(jobId).signal(stillThereSignal);
    return true;
  } catch (error) {
    if (isCancellation(error)) throw error;
    return false;
  }
}

/** What is said for it. */
export const closedFromOutside: JobOutcome = {
  outcome: 'failed',
  failure: {
    code: 'Unexpected',
    class: 'nonRecoverable',
    message: 'The job was closed from outside',
    remedy: 'Look at the VM on both sides before you go on.',
  },
};
