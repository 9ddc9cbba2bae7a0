/** Providers that protected VMs need but that no longer poll. */
import type { Client } from '@temporalio/client';
import { taskQueues } from '../domain/ids.js';
import { needsPrimarySide, type ProtectedItem } from '../domain/protected-item.js';
import type { SilentProvider } from '../domain/silent-provider.js';
import { toIso } from '../domain/time.js';
import { ACTIVITIES, POLLER_GONE_MS, pollersOf } from './pollers.js';

/** @returns none if the client has no permission to list the pollers of a queue. */
export async function silentProviders(
  temporal: Client,
  vault: string,
  items: ReadonlyMap<string, ProtectedItem>,
): Promise<SilentProvider[]> {
  const wanted = [...items.values()].filter(needsPrimarySide);
  const servers = [...new Set(wanted.map(({ vmmServer }) => vmmServer))];
  const found = await Promise.all(
    servers.map((vmmServer) => lookAt(temporal, vault, vmmServer).catch(() => undefined)),
  );
  return found.filter((one) => one !== undefined);
}

async function lookAt(temporal: Client, vault: string, vmmServer: string): Promise<SilentProvider | undefined> {
  const { workflowService, options } = temporal;
  const pollers = await pollersOf(workflowService, options.namespace, taskQueues.vmm(vault, vmmServer), ACTIVITIES);
  const polledAt = Math.max(...pollers.map(({ at }) => at));
  if (Date.now() - polledAt < POLLER_GONE_MS) return undefined;
  return { vmmServer, ...(pollers.length > 0 && { polledAt: toIso(polledAt) }) };
}
