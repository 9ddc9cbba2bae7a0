/**
 * Waiting for a state, or for a while: what workflows wait by. A condition looks at state only; what goes by the clock is
 * waited for by a timer, whose end is an event (see clock.ts).
 */
import { allHandlersFinished, condition } from '@temporalio/workflow';
import { withoutClock } from './clock.js';

export const until = (reached: () => boolean): Promise<void> => condition(() => withoutClock(reached));

/** @param summary of the timer, for the Temporal Web UI. @returns false when the time is over. */
export const untilOrAfter = (reached: () => boolean, ms: number, summary: string): Promise<boolean> =>
  condition(() => withoutClock(reached), Math.max(1, ms), { summary });

/** A workflow that ends, or continues as new, answers first what it was asked. */
export const untilAnswered = (): Promise<void> => condition(allHandlersFinished);
