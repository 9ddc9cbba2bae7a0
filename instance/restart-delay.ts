/** How long to wait before a process that died is started again: at once when it was well, ever longer when it dies soon. */

const FIRST_MS = 250;
const MAX_MS = 30_000;
/** One that ran longer than this is taken to have been well, ms. A worker is at work within a second or two. */
const WELL_AFTER_MS = 10_000;

export class RestartDelay {
  #next = FIRST_MS;

  /** @param ranMs how long it ran before it died, ms. @returns ms to wait. */
  after(ranMs: number): number {
    this.#next = ranMs > WELL_AFTER_MS ? FIRST_MS : Math.min(this.#next * 2, MAX_MS);
    return this.#next;
  }
}
