/**
 * Separates operations on the same part of a disk. Fair: no operation overtakes a waiting one that it would delay. A
 * holder takes all its ranges at once, so two holders cannot wait for each other.
 */
import { overlaps, type Range } from '../domain/ranges.js';

interface Holder {
  readonly ranges: readonly Range[];
  readonly shared: boolean;
  readonly granted: () => void;
}

export class RangeLock {
  readonly #held = new Set<Holder>();
  #waiting: Holder[] = [];

  /**
   * Waits until the ranges are free (in any unit that all holders share). Shared holders do not exclude each other.
   * @returns a function that releases them.
   */
  async acquire(ranges: readonly Range[], mode: 'shared' | 'exclusive'): Promise<() => void> {
    const shared = mode === 'shared';
    let granted = () => {};
    const turn = new Promise<void>((resolve) => {
      granted = resolve;
    });
    const holder: Holder = { ranges, shared, granted };
    if (this.#isFree(holder, this.#waiting)) this.#held.add(holder);
    else {
      this.#waiting.push(holder);
      await turn;
    }
    return () => this.#release(holder);
  }

  /** Runs `action` while holding the ranges. */
  async with<T>(ranges: readonly Range[], mode: 'shared' | 'exclusive', action: () => Promise<T>): Promise<T> {
    const release = await this.acquire(ranges, mode);
    try {
      return await action();
    } finally {
      release();
    }
  }

  #release(holder: Holder): void {
    if (!this.#held.delete(holder) || this.#waiting.length === 0) return;
    const still: Holder[] = [];
    for (const next of this.#waiting) {
      if (this.#isFree(next, still)) {
        this.#held.add(next);
        next.granted();
      } else still.push(next);
    }
    this.#waiting = still;
  }

  #isFree(holder: Holder, before: readonly Holder[]): boolean {
    const conflicts = (other: Holder) =>
      !(holder.shared && other.shared) && holder.ranges.some((a) => other.ranges.some((b) => overlaps(a, b)));
    for (const other of this.#held) if (conflicts(other)) return false;
    return !before.some(conflicts);
  }
}
