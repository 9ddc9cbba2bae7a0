/** What an entity has to do with the world beside its own work: alerts go out, and its host is watched for it. */
import type { ItemEvent } from '../domain/transitions.js';
import { keepHostWatched, type WatchedItem } from './keep-host-watched.js';
import { sendAlerts, type AlertedItem } from './send-alerts.js';

/** Resolves once the entity is over and nobody watches for it any more. */
export async function tellOthers(
  of: WatchedItem & Pick<AlertedItem, 'health'> & { on(event: ItemEvent): void },
): Promise<void> {
  void sendAlerts({ ...of, alerted: (health) => of.on({ type: 'alerted', health }) });
  await keepHostWatched(of);
}
