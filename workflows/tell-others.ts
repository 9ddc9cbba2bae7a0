/** What an entity has to do with the world beside its own work: alerts go out, and its host is watched for it. */
import { patched } from '@temporalio/workflow';
import type { ItemEvent } from '../domain/transitions.js';
import { keepHostWatched, type WatchedItem } from './keep-host-watched.js';
import { sendAlerts } from './send-alerts.js';

/** Resolves once the entity is over and nobody watches for it any more. */
export async function tellOthers(of: WatchedItem & { on(event: ItemEvent): void }): Promise<void> {
  // Entities that began before this go on without it until they continue as new.
  if (!patched('host-watch-and-alerts')) return;
  void sendAlerts({ item: of.item, over: of.over, alerted: (health) => of.on({ type: 'alerted', health }) });
  await keepHostWatched(of);
}
