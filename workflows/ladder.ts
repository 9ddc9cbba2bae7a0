/**
 * The ladder: runs one step until it succeeds. Each attempt is one activity execution (maximumAttempts 1); between
 * attempts it waits 1, 2, 4, 8, 10, then every 30 minutes, visibly, and an administrator's `retry` ends the wait.
 * The count starts again once the step's checkpoint has advanced. What a worker handed back as it was told to stop is no
 * attempt: the next one gets it at once. A non-recoverable failure waits for `retry` only;
 * a failure that needs a resynchronization is thrown.
 */
import { condition, isCancellation } from '@temporalio/workflow';
import { retryDelayMs } from '../domain/retry.js';
import type { Failure } from '../domain/errors.js';
import type { RetryState } from '../domain/job.js';
import { toIso, toMs } from '../domain/time.js';
import { checkpointOf, failureOf, StepFailure } from './step-failure.js';

export interface LadderControl {
  /** Shows the state to people; undefined once the step has recovered. */
  publish(retry: RetryState | undefined): void;
  /** Set by the administrator's `retry`; the ladder takes it back. */
  retryRequested: boolean;
  /** After a failure: is what the step needs somewhere else now? Then it is tried there, at once. @throws StepFailure */
  moved(failure: Failure): Promise<boolean>;
  /** True when going on waiting makes no sense: a job is asked for, the run has to continue as new. */
  interrupted(): boolean;
}

export type Climb<T> = { done: true; value: T } | { done: false };

/**
 * @param from where an earlier run of this workflow stood, so that a long wait goes on where it was.
 * @throws StepFailure when the failure's class is needsResync; CancelledFailure when cancelled.
 */
export async function climb<T>(
  what: string,
  attemptStep: () => Promise<T>,
  control: LadderControl,
  from?: RetryState,
): Promise<Climb<T>> {
  let state = from;
  let lastCheckpoint: number | undefined;
  let atOnce = false;
  for (;;) {
    if (state && !atOnce) {
      await waitForTurn(state, what, control);
      if (!control.retryRequested && control.interrupted() && !isDue(state)) return { done: false };
      control.retryRequested = false;
    }
    atOnce = false;
    try {
      const value = await attemptStep();
      if (state) control.publish(undefined);
      return { done: true, value };
    } catch (error) {
      if (isCancellation(error)) throw error;
      const failure = failureOf(error);
      if (failure.class === 'needsResync') {
        control.publish(undefined);
        throw new StepFailure(failure);
      }
      if (failure.code === 'WorkerStopped' || (await control.moved(failure))) {
        atOnce = true;
        continue;
      }
      const checkpoint = checkpointOf(error);
      const advanced = checkpoint !== undefined && lastCheckpoint !== undefined && checkpoint > lastCheckpoint;
      lastCheckpoint = checkpoint ?? lastCheckpoint;
      state = afterFailure(failure, advanced ? undefined : state);
      control.publish(state);
    }
  }
}

function afterFailure(failure: Failure, before: RetryState | undefined): RetryState {
  const now = Date.now();
  const attempt = (before?.attempt ?? 0) + 1;
  const state: RetryState = { failure, attempt, since: before?.since ?? toIso(now) };
  return failure.class === 'recoverable' ? { ...state, nextTryAt: toIso(now + retryDelayMs(attempt)) } : state;
}

const isDue = (state: RetryState): boolean => state.nextTryAt !== undefined && toMs(state.nextTryAt) <= Date.now();

async function waitForTurn(state: RetryState, what: string, control: LadderControl): Promise<void> {
  const woken = () => control.retryRequested || control.interrupted();
  if (state.nextTryAt === undefined) {
    await condition(woken);
    return;
  }
  const left = toMs(state.nextTryAt) - Date.now();
  if (left > 0) await condition(woken, left, { summary: `Next try of "${what}", attempt ${state.attempt + 1}` });
}
