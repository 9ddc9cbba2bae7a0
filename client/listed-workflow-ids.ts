/** Searches the server's list of workflows, which lags about a second behind. */
import type { Client } from '@temporalio/client';

/**
 * Newest first, without duplicates: the server lists a workflow that continued as new once per run.
 * @param limit maximum number of IDs.
 */
export async function listedWorkflowIds(client: Client, query: string, limit: number): Promise<string[]> {
  const ids = new Set<string>();
  for await (const { workflowId } of client.workflow.list({ query })) {
    ids.add(workflowId);
    if (ids.size >= limit) break;
  }
  return [...ids];
}
