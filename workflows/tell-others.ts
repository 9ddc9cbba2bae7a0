/** What an entity has to do with the world beside its own work: alerts go out, and its host is watched for it. */
import { patched } from '@temporalio/workflow';
import type { ItemEvent } from '../domain/transitions.js';
import { keepHostWatched, type WatchedItem } from './keep-host-watched.js';
import { sendAlerts, type AlertedItem } from './send-alerts.js';
import { HOST_WATCH_AND_ALERTS } from './versions.js';

/** Resolves once the entity is over and nobody watches for it any more. */
export async function tellOthers(
  of: WatchedItem & Pick<AlertedItem, 'health'> & { on(event: ItemEvent): void },
): Promise<void> {
  // Entities that began before this go on without it until they continue as new.
  if (!patched(HOST_WATCH_AND_ALERTS)) return;
  void sendAlerts({ ...of, alerted: (health) => of.on({ type: 'alerted', health }) });
  await keepHostWatched(of);
}
