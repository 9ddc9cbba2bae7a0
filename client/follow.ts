/** Watching something that goes on by itself. */
import { setTimeout as sleep } from 'node:timers/promises';
import { UnreachableError } from './errors.js';

const POLL_MS = 500;
/** Workers and Temporal may be away this long while something is watched: they are started again, ms. */
const ABSENCE_TIMEOUT_MS = 5 * 60_000;

/**
 * Reads again and again until it is as wanted. The work goes on without those who watch it, so a server or worker that
 * is away for a while is waited for.
 * @param onChange is told of every value
 * @throws UnreachableError after five minutes without an answer
 */
export async function follow<T>(
  read: () => Promise<T>,
  onChange: (value: T) => void,
  until: (value: T) => boolean | Promise<boolean>,
): Promise<T> {
  let answeredAt = performance.now();
  for (;;) {
    try {
      const value = await read();
      answeredAt = performance.now();
      onChange(value);
      if (await until(value)) return value;
    } catch (error) {
      if (!(error instanceof UnreachableError) || performance.now() - answeredAt > ABSENCE_TIMEOUT_MS) throw error;
    }
    await sleep(POLL_MS);
  }
}
