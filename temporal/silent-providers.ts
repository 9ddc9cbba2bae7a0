/** Providers that protected VMs need but that no longer poll. */
import type { Client } from '@temporalio/client';
import { taskQueues } from '../domain/ids.js';
import { needsPrimarySide, type ProtectedItem } from '../domain/protected-item.js';
import type { SilentProvider } from '../domain/silent-provider.js';
import { toMs } from '../domain/time.js';
import { POLLER_GONE_MS } from './pollers.js';
import { seenWorkers } from './seen-workers.js';

/** @returns none if the client has no permission to list the pollers of a queue. */
export async function silentProviders(
  temporal: Client,
  vault: string,
  items: ReadonlyMap<string, ProtectedItem>,
): Promise<SilentProvider[]> {
  const wanted = [...items.values()].filter(needsPrimarySide);
  const servers = [...new Set(wanted.map(({ vmmServer }) => vmmServer))];
  const queueOf = (vmmServer: string) => taskQueues.vmm(vault, vmmServer);
  const seen = await seenWorkers(temporal, servers.map(queueOf)).catch(() => undefined);
  if (!seen) return [];
  return servers.flatMap((vmmServer) => {
    const polledAt = seen.get(queueOf(vmmServer));
    const polled = polledAt === undefined ? -Infinity : toMs(polledAt);
    // A Provider that has not polled since a job failed because of it does not answer.
    const failed = newestFailure(wanted.filter((item) => item.vmmServer === vmmServer));
    if (polled > failed && Date.now() - polled < POLLER_GONE_MS) return [];
    return [{ vmmServer, ...(polledAt !== undefined && { polledAt }) }];
  });
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
