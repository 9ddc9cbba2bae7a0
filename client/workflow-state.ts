/** The state that a workflow has left with the server, as its memo: to read it needs no worker. */
import type { Client, WorkflowExecutionDescription, WorkflowHandle } from '@temporalio/client';
import { memoKeys } from '../workflows/messages.js';

interface Found<T> {
  readonly state: T;
  readonly status: WorkflowExecutionDescription['status']['name'];
}

/**
 * @param ask of the workflow itself, which alone knows before its first task is done.
 * @throws WorkflowNotFoundError; what asking throws when it is a workflow of another kind.
 */
export async function workflowState<T>(
  client: Client,
  id: string,
  key: keyof typeof memoKeys,
  ask: (workflow: WorkflowHandle) => Promise<T>,
): Promise<Found<T>> {
  const workflow = client.workflow.getHandle(id);
  const { memo, status } = await workflow.describe();
  const state = memo?.[memoKeys[key]] as T | undefined;
  return { state: state ?? (await ask(workflow)), status: status.name };
}
