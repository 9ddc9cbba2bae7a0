/** A clock that stands still until somebody sleeps; then it is as late as the first who wakes. */
import type { Clock } from '../../sites/bandwidth-limiter.js';

export class FakeClock implements Clock {
  readonly #sleepers = new Set<{ until: number; wake: () => void }>();
  #now: number;

  constructor(now = Date.UTC(2026, 2, 2)) {
    this.#now = now;
  }

  now = (): number => this.#now;

  advance(ms: number): void {
    this.#now += ms;
  }

  sleep = (ms: number, signal: AbortSignal | undefined): Promise<void> =>
    new Promise((resolve, reject) => {
      const sleeper = { until: this.#now + ms, wake: resolve };
      this.#sleepers.add(sleeper);
      signal?.addEventListener('abort', () => {
        this.#sleepers.delete(sleeper);
        reject(new Error('The sleep was ended'));
      });
    });

  /** Lets time pass, sleep by sleep, until the work is done. */
  async drive<T>(work: Promise<T>): Promise<T> {
    let over = false;
    const ended = work.finally(() => {
      over = true;
    });
    ended.catch(() => undefined);
    for (;;) {
      await new Promise((resolve) => setImmediate(resolve));
      if (over) return await ended;
      const [first] = [...this.#sleepers].toSorted((one, other) => one.until - other.until);
      if (!first) continue;
      this.#sleepers.delete(first);
      this.#now = Math.max(this.#now, first.until);
      first.wake();
    }
  }
}
