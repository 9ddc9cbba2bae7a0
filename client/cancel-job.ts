/** Asks a running job to end. */
import { WorkflowNotFoundError, type WorkflowHandle } from '@temporalio/client';
import { cancelJobSignal } from '../workflows/messages.js';

/** The signal says why; by the request the server shows the job as cancelled. @throws WorkflowNotFoundError when it has ended. */
export async function cancelJob(job: WorkflowHandle): Promise<void> {
  await job.signal(cancelJobSignal, { reason: 'an operator cancelled it' });
  await job.cancel().catch((error: unknown) => {
    // It has ended meanwhile.
    if (!(error instanceof WorkflowNotFoundError)) throw error;
  });
}
