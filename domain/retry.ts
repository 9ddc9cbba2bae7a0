/** The ladder of delays between attempts of a recoverable step. */

/** Minutes before the 2nd, 3rd, ... attempt; after the last rung every further delay is `LAST_RUNG_MINUTES`. */
const RUNGS_MINUTES = [1, 2, 4, 8, 10] as const;
const LAST_RUNG_MINUTES = 30;

/** @param attempt number of failed attempts so far, at least 1. @returns the delay before the next attempt, in ms. */
export const retryDelayMs = (attempt: number): number =>
  (RUNGS_MINUTES[Math.max(1, attempt) - 1] ?? LAST_RUNG_MINUTES) * 60_000;
