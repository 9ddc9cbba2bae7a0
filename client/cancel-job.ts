/** Asks a running job to end. */
import { WorkflowNotFoundError, type WorkflowHandle } from '@temporalio/client';
import { cancelJobSignal } from '../workflows/messages.js';

/**
 * The signal carries the reason; the cancellation request makes the server show the job as cancelled.
 * @throws WorkflowNotFoundError if the job has ended.
 */
export async function cancelJob(job: WorkflowHandle): Promise<void> {
  await job.signal(cancelJobSignal, { reason: 'an operator cancelled it' });
  await job.cancel().catch((error: unknown) => {
    // The job has ended in the meantime.
    if (!(error instanceof WorkflowNotFoundError)) throw error;
  });
}
