/** Asks for a preview of a job; see `workflows/preview-job.ts`. */
import { randomUUID } from 'node:crypto';
import { WorkflowFailedError, type Client } from '@temporalio/client';
import { TimeoutFailure } from '@temporalio/common';
import { previewId, taskQueues } from '../domain/ids.js';
import { jobPreviewSchema, type JobPreview } from '../domain/job-preview.js';
import type { PreviewJobInput } from '../workflows/messages.js';
import { azureWorkerAway } from './answered.js';
import { isWorkflowWorkerAway } from './worker-away.js';

/** A preview asks each site once and waits for none for long. */
const LASTS_AT_MOST = '3 minutes';

/** @throws UnreachableError if no worker runs the preview. */
export async function previewJob(
  client: Client,
  input: PreviewJobInput,
  answer: <T>(call: () => Promise<T>) => Promise<T>,
): Promise<JobPreview> {
  const { vault, vm, kind } = input;
  const taskQueue = taskQueues.azure(vault);
  const away = () => azureWorkerAway(`The Azure worker of vault ${vault}`);
  if (await isWorkflowWorkerAway(client, taskQueue, Date.now())) throw away();
  const workflowId = previewId(vault, vm, kind, randomUUID());
  const handle = await answer(() =>
    client.workflow.start<(input: PreviewJobInput) => Promise<JobPreview>>('previewJob', {
      workflowId,
      taskQueue,
      staticSummary: `Preview for ${vm}`,
      workflowExecutionTimeout: LASTS_AT_MOST,
      args: [input],
    }),
  );
  try {
    return jobPreviewSchema.parse(await handle.result());
  } catch (error) {
    if (error instanceof WorkflowFailedError && error.cause instanceof TimeoutFailure) throw away();
    throw error;
  }
}
