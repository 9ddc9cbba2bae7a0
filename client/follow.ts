/** Follows work that continues on its own. */
import { setTimeout as sleep } from 'node:timers/promises';
import { RefusedError, UnreachableError } from './errors.js';

const POLL_MS = 500;
/** Workers and Temporal may be away this long while something is watched: they are started again, ms. */
const ABSENCE_TIMEOUT_MS = 5 * 60_000;
/** An accepted job waits at most for one activity of the delta loop, ms. */
const BEGIN_TIMEOUT_MS = 10 * 60_000;

/** Reads a job that was accepted, and begins once its VM has ended the cycle it is in: until then there is none. */
export function onceBegun<T>(read: () => Promise<T>): () => Promise<T> {
  const giveUpAt = performance.now() + BEGIN_TIMEOUT_MS;
  return async () => {
    for (;;) {
      try {
        return await read();
      } catch (error) {
        if (!(error instanceof RefusedError) || performance.now() > giveUpAt) throw error;
        await sleep(POLL_MS);
      }
    }
  };
}

/**
 * Reads again and again until it is as wanted. The work continues without its watchers, so a server or worker that
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

/** Of a job, or of a plan run. */
export const hasEnded = ({ state }: { state: string }): boolean => state !== 'InProgress';
