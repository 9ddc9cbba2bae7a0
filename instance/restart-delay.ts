/**
 * The delay before a process that died is restarted: none if it ran well, and increasing if it dies soon after each
 * start.
 */

const FIRST_MS = 250;
const MAX_MS = 30_000;
/** A process that ran longer than this is considered healthy, ms. A worker is at work within a second or two. */
const WELL_AFTER_MS = 10_000;

export class RestartDelay {
  #next = FIRST_MS;

  /** @param ranMs how long it ran before it died, ms. @returns delay, ms. */
  after(ranMs: number): number {
    this.#next = ranMs > WELL_AFTER_MS ? FIRST_MS : Math.min(this.#next * 2, MAX_MS);
    return this.#next;
  }
}
