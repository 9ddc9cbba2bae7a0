/** Whether a worker polls the queue of the workflows, asked before something is started that must not wait for one. */
import type { Client } from '@temporalio/client';
import { POLLER_GONE_MS, pollersOf, WORKFLOWS } from '../temporal/pollers.js';

/** The most by which the clocks here and at the server may differ, ms. */
const CLOCKS_DIFFER_MS = 60_000;

/** False if it is unknown: a client may lack the permission to list pollers. @param now ms since 1970. */
export async function isWorkflowWorkerAway(client: Client, taskQueue: string, now: number): Promise<boolean> {
  const pollers = await pollersOf(client.workflowService, client.options.namespace, taskQueue, WORKFLOWS).catch(
    () => undefined,
  );
  return pollers !== undefined && !pollers.some(({ at }) => now - at < POLLER_GONE_MS + CLOCKS_DIFFER_MS);
}
