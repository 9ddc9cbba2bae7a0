/** Work of an entity in parallel with its loop: sending alerts, and keeping its host watched. */
import type { ItemEvent } from '../domain/transitions.js';
import { keepHostWatched, type WatchedItem } from './keep-host-watched.js';
import { sendAlerts, type AlertedItem } from './send-alerts.js';

/** Resolves when the entity is over and has left the watch over its host. */
export async function tellOthers(
  of: WatchedItem & Pick<AlertedItem, 'health'> & { on(event: ItemEvent): void },
): Promise<void> {
  void sendAlerts({ ...of, alerted: (health) => of.on({ type: 'alerted', health }) });
  await keepHostWatched(of);
}
