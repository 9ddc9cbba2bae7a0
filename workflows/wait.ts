/**
 * Waiting for a state, or for a while: what workflows wait by. A condition looks at state only; what goes by the clock is
 * waited for by a timer, whose end is an event (see clock.ts).
 */
import { allHandlersFinished, condition, patched } from '@temporalio/workflow';
import { withoutClock } from './clock.js';
import { CONDITIONS_BY_STATE } from './versions.js';

/** @param before what runs that began when conditions read the clock looked at instead. @default the same */
export function until(reached: () => boolean, before = reached): Promise<void> {
  return condition(looking(reached, before));
}

/** @param summary of the timer, for the Temporal Web UI. @param before as above. @returns false when the time is over. */
export function untilOrAfter(reached: () => boolean, ms: number, summary: string, before = reached): Promise<boolean> {
  return condition(looking(reached, before), Math.max(1, ms), { summary });
}

/** A workflow that ends, or continues as new, answers first what it was asked. */
export const untilAnswered = (): Promise<void> => condition(allHandlersFinished);

const looking = (reached: () => boolean, before: () => boolean) =>
  patched(CONDITIONS_BY_STATE) ? () => withoutClock(reached) : before;
