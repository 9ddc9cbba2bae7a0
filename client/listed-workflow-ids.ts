/** Asks the server's list, which lags about a second behind. */
import type { Client } from '@temporalio/client';

/** Newest first, each once: a workflow that continued as new is listed by the server once per run. @param limit ids */
export async function listedWorkflowIds(client: Client, query: string, limit: number): Promise<string[]> {
  const ids = new Set<string>();
  for await (const { workflowId } of client.workflow.list({ query })) {
    ids.add(workflowId);
    if (ids.size >= limit) break;
  }
  return [...ids];
}
