/** Limits how long a command waits for a slow store, and tells the operator about the wait. */
import { setTimeout as sleep } from 'node:timers/promises';
import { formatStoreAddress, type StoreAddress } from '../../domain/store-address.js';
import { formatSeconds } from '../../domain/time.js';
import { note } from '../output.js';

/** Limit for data that is only shown beside something else, ms. */
const PATIENCE_MS = 5_000;
/** How often a wait for the store is reported, ms. */
const TOLD_EVERY_MS = 10_000;

/** For data that is only shown beside something else. @param otherwise returned if the store fails or hangs. */
export const unlessItHangs = <T>(asked: Promise<T>, otherwise: T): Promise<T> =>
  Promise.race([asked.catch(() => otherwise), sleep(PATIENCE_MS, otherwise, { ref: false })]);

/**
 * Reports on standard error how long the command has been waiting for the store. Failed requests are retried for
 * minutes.
 */
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
