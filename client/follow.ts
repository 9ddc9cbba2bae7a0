/** Follows work that continues on its own. */
import { setTimeout as sleep } from 'node:timers/promises';
import { RefusedError, UnreachableError } from './errors.js';

const POLL_MS = 500;
/** Workers and Temporal may be away for this long, ms, while something is followed, because they are restarted. */
const ABSENCE_TIMEOUT_MS = 5 * 60_000;
/** An accepted job begins after at most one activity of the delta loop, ms. */
const BEGIN_TIMEOUT_MS = 10 * 60_000;

/** Reads a job that was accepted. The job does not exist until its VM has finished the current cycle. */
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
 * Reads repeatedly until the value is as wanted. The work continues on its own, so a server or worker may be away for a
 * while.
 * @param onChange called with every value.
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

/** For a job or a plan run. */
export const hasEnded = ({ state }: { state: string }): boolean => state !== 'InProgress';
