/**
 * The retry ladder: runs one step until it succeeds. Each attempt is one activity execution (maximumAttempts 1).
 * Between attempts it waits 1, 2, 4, 8, 10, then every 30 minutes, visibly; an operator's `retry` ends the wait. The
 * count starts again when the step's checkpoint has advanced. Work that a stopping worker handed back does not count as
 * an attempt and is retried immediately. A non-recoverable failure waits for `retry` only; a failure that needs a
 * resynchronization is thrown.
 */
import { isCancellation } from '@temporalio/workflow';
import { retryDelayMs } from '../domain/retry.js';
import type { Failure } from '../domain/errors.js';
import type { RetryState } from '../domain/job.js';
import { toIso, toMs } from '../domain/time.js';
import { nowMs } from './clock.js';
import { EntityClosed } from './entity-closed.js';
import { failureOf, StepFailure } from './step-failure.js';
import { until, untilOrAfter } from './wait.js';

/** While waiting for an operator, checks this often whether the step is still wanted, ms. */
const ASK_MS = 30 * 60_000;

export interface LadderControl {
  /** Shows the state to people; undefined when the step has recovered. */
  publish(retry: RetryState | undefined): void;
  /** Set by the operator's `retry`, reset by the ladder. */
  retryRequested: boolean;
  /**
   * After a failure: has the VM moved to another host? If so, the step is retried there immediately. @throws
   * StepFailure
   */
  moved(failure: Failure): Promise<boolean>;
  /** While waiting for an operator: does the entity that could pass on `retry` still exist? */
  stillWanted?(): Promise<boolean>;
  /** True if waiting any longer makes no sense: a job has been requested, or the run must continue as new. */
  interrupted(): boolean;
}

export type Climb<T> = { done: true; value: T } | { done: false };

/**
 * @param from state of an earlier run of this workflow, so that a long wait continues where it was.
 * @param isFinal selects failures that are thrown instead of retried.
 * @throws StepFailure if the failure's class is needsResync or the failure is final; CancelledFailure when cancelled.
 */
export async function climb<T>(
  what: string,
  attemptStep: () => Promise<T>,
  control: LadderControl,
  from?: RetryState,
  isFinal: (failure: Failure) => boolean = () => false,
): Promise<Climb<T>> {
  let state = from?.step === undefined || from.step === what ? from : undefined;
  let lastCheckpoint: number | undefined;
  let atOnce = false;
  for (;;) {
    if (state && !atOnce) {
      await waitForTurn(state, what, control);
      if (!control.retryRequested && !isDue(state)) {
        if (control.interrupted()) return { done: false };
        // The reason for waking up is already gone: no retry is requested, and the time has not come.
        continue;
      }
      control.retryRequested = false;
    }
    atOnce = false;
    try {
      const value = await attemptStep();
      if (state) control.publish(undefined);
      return { done: true, value };
    } catch (error) {
      if (isCancellation(error)) throw error;
      if (error instanceof EntityClosed) throw error;
      const failure = failureOf(error);
      if (failure.class === 'needsResync') {
        control.publish(undefined);
        throw new StepFailure(failure);
      }
      if (failure.code === 'WorkerStopped' || (await control.moved(failure))) {
        atOnce = true;
        continue;
      }
      if (isFinal(failure)) {
        control.publish(undefined);
        throw new StepFailure(failure);
      }
      const checkpoint = failure.checkpoint?.bytesDone;
      const advanced = checkpoint !== undefined && lastCheckpoint !== undefined && checkpoint > lastCheckpoint;
      lastCheckpoint = checkpoint ?? lastCheckpoint;
      // A retry requested during the attempt was requested before this failure was known.
      control.retryRequested = false;
      state = afterFailure(what, failure, advanced ? undefined : state);
      control.publish(state);
    }
  }
}

function afterFailure(step: string, failure: Failure, before: RetryState | undefined): RetryState {
  const now = nowMs();
  const attempt = (before?.attempt ?? 0) + 1;
  const state: RetryState = { step, failure, attempt, since: before?.since ?? toIso(now) };
  return failure.class === 'recoverable' ? { ...state, nextTryAt: toIso(now + retryDelayMs(attempt)) } : state;
}

const isDue = (state: RetryState): boolean => state.nextTryAt !== undefined && toMs(state.nextTryAt) <= nowMs();

async function waitForTurn(state: RetryState, what: string, control: LadderControl): Promise<void> {
  const woken = () => control.retryRequested || control.interrupted();
  if (state.nextTryAt === undefined) {
    if (!control.stillWanted) return until(woken);
    while (!(await untilOrAfter(woken, ASK_MS, 'Check whether the protection workflow still exists'))) {
      if (!(await control.stillWanted())) return;
    }
    return;
  }
  const left = toMs(state.nextTryAt) - nowMs();
  if (left > 0) await untilOrAfter(woken, left, `Next try of "${what}", attempt ${state.attempt + 1}`);
}
