/** Providers that protected VMs need but that no longer poll. */
import type { Client } from '@temporalio/client';
import { taskQueues } from '../domain/ids.js';
import { needsPrimarySide, type ProtectedItem } from '../domain/protected-item.js';
import type { SilentProvider } from '../domain/silent-provider.js';
import { toIso, toMs } from '../domain/time.js';
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
    servers.map((vmmServer) => {
      const failedAt = newestFailure(wanted.filter((item) => item.vmmServer === vmmServer));
      return lookAt(temporal, vault, vmmServer, failedAt).catch(() => undefined);
    }),
  );
  return found.filter((one) => one !== undefined);
}

/** When a job last ended because the Provider did not answer, ms; 0: none did. */
const newestFailure = (items: readonly ProtectedItem[]): number =>
  Math.max(
    0,
    ...items
      .flatMap(({ recentJobs }) => recentJobs)
      .filter(({ failure }) => failure?.code === 'ProviderNotAnswering')
      .map(({ endedAt }) => toMs(endedAt)),
  );

/** @param failedAt a Provider that has not asked for work since then does not answer, ms. */
async function lookAt(
  temporal: Client,
  vault: string,
  vmmServer: string,
  failedAt: number,
): Promise<SilentProvider | undefined> {
  const { workflowService, options } = temporal;
  const pollers = await pollersOf(workflowService, options.namespace, taskQueues.vmm(vault, vmmServer), ACTIVITIES);
  const polledAt = Math.max(...pollers.map(({ at }) => at));
  if (polledAt > failedAt && Date.now() - polledAt < POLLER_GONE_MS) return undefined;
  return { vmmServer, ...(pollers.length > 0 && { polledAt: toIso(polledAt) }) };
}
