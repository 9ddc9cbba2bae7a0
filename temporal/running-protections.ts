/** The VMs of a vault whose protection is running in Temporal. */
import { Client, type Connection } from '@temporalio/client';
import { protectedItemId } from '../domain/ids.js';

/** Names, from the running entities. The server's list is about a second behind. @throws the errors of the client. */
export async function runningProtections(connection: Connection, namespace: string, vault: string): Promise<string[]> {
  const { workflow } = new Client({ connection, namespace });
  const query = `WorkflowType = 'protectVm' AND ExecutionStatus = 'Running' AND FarshoreVault = '${vault}'`;
  const prefix = protectedItemId(vault, '');
  const found: string[] = [];
  for await (const { workflowId } of workflow.list({ query })) found.push(workflowId.slice(prefix.length));
  return found;
}
