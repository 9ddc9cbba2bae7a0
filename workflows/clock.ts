/**
 * The time of a workflow: when the task under way began. Nothing else here reads the clock (lint sees to it).
 *
 * A condition must not. An update that is refused leaves no event, but all conditions are looked at after it: one that had
 * become true by time alone would begin something that no replay comes to, and the next worker could not take over.
 */
import { toIso } from '../domain/time.js';

/** Loaded per run, as all modules of workflows are. */
let stopped = false;

/** Milliseconds since 1970. @throws Error in a condition. */
export function nowMs(): number {
  if (stopped) throw new Error('A condition has to look at state only, and this one reads the clock');
  return Date.now();
}

/** ISO 8601. @throws Error in a condition. */
export const now = (): string => toIso(nowMs());

/** Whoever asks for the time meanwhile makes a mistake. */
export function withoutClock<T>(look: () => T): T {
  stopped = true;
  try {
    return look();
  } finally {
    stopped = false;
  }
}
