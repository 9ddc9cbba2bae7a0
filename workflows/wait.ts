/**
 * Waiting for a state or for a time. A condition looks at state only; time is waited for with a timer, whose end is an
 * event (see clock.ts).
 */
import { allHandlersFinished, condition } from '@temporalio/workflow';
import { withoutClock } from './clock.js';

export const until = (reached: () => boolean): Promise<void> => condition(() => withoutClock(reached));

/** @param summary of the timer, for the Temporal Web UI. @returns false when the time has passed. */
export const untilOrAfter = (reached: () => boolean, ms: number, summary: string): Promise<boolean> =>
  condition(() => withoutClock(reached), Math.max(1, ms), { summary });

/** A workflow that ends or continues as new first answers all requests. */
export const untilAnswered = (): Promise<void> => condition(allHandlersFinished);
