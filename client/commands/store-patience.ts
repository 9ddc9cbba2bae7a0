/** A store that answers slowly, or not at all, and the person who waits for a command. */
import { setTimeout as sleep } from 'node:timers/promises';
import { formatStoreAddress, type StoreAddress } from '../../domain/store-address.js';
import { formatSeconds } from '../../domain/time.js';
import { note } from '../output.js';

/** Nobody waits longer for what is only shown beside something else, ms. */
const PATIENCE_MS = 5_000;
/** Whoever waits for the store itself is told so, each time this has passed, ms. */
const TOLD_EVERY_MS = 10_000;

/** For what is shown beside something else. @param otherwise stands for an answer of a store that fails or hangs. */
export const unlessItHangs = <T>(asked: Promise<T>, otherwise: T): Promise<T> =>
  Promise.race([asked.catch(() => otherwise), sleep(PATIENCE_MS, otherwise, { ref: false })]);

/** Says on standard error that, and how long, the store is waited for. Requests that fail are made again for minutes. */
export async function waitingForStore<T>(address: StoreAddress, asked: Promise<T>): Promise<T> {
  const begun = performance.now();
  const timer = setInterval(() => {
    const waited = formatSeconds(Math.round((performance.now() - begun) / 1000));
    note(`Waiting for the store in ${formatStoreAddress(address)} for ${waited} so far; press Ctrl-C to stop.`);
  }, TOLD_EVERY_MS);
  try {
    return await asked;
  } finally {
    clearInterval(timer);
  }
}
