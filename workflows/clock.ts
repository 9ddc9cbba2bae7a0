/**
 * The time of a workflow: when its current task began. No other module in this room reads the clock (the linter
 * enforces it).
 *
 * A condition must not read it. A refused update leaves no event, but all conditions are evaluated after it. A
 * condition that had become true by time alone would begin work that no replay begins, and the next worker could not
 * take over.
 */
import { toIso } from '../domain/time.js';

/** Each run has its own copy, as with all modules of workflows. */
let stopped = false;

/** Milliseconds since 1970. @throws Error in a condition. */
export function nowMs(): number {
  if (stopped) throw new Error('A condition has to look at state only, and this one reads the clock');
  return Date.now();
}

/** Current time, ISO 8601. @throws Error in a condition. */
export const now = (): string => toIso(nowMs());

/** Makes `nowMs` throw while `look` runs. */
export function withoutClock<T>(look: () => T): T {
  stopped = true;
  try {
    return look();
  } finally {
    stopped = false;
  }
}
