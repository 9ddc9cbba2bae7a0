/**
 * A small cycle is applied by the worker that runs the workflow, in the task that has heard that it was sent: one event of
 * the history instead of six, and a third less of the Temporal server's processor time. What is large, or turns out to take
 * long, is done from the Azure worker's queue, with heartbeats.
 *
 * While it lasts the workflow hears nothing else, not even of an unplanned failover. So it gets less time than until the SDK
 * would begin another task to wait in (8 s).
 */
import { ActivityFailure, ApplicationFailure, TimeoutFailure } from '@temporalio/common';
import { ActivityCancellationType, proxyLocalActivities } from '@temporalio/workflow';
import type { AppliedCycle, CycleToApply, TargetActivities } from '../activities/target.js';
import { localWorkEnds } from './history-limit.js';

/** Bytes of a cycle that are applied within a fraction of a second. */
const SMALL_BYTES = 4 * 1024 * 1024;

const here = proxyLocalActivities<Pick<TargetActivities, 'applyCycle'>>({
  scheduleToCloseTimeout: '3 seconds',
  retry: { maximumAttempts: 1 },
  cancellationType: ActivityCancellationType.TRY_CANCEL,
});

export const isSmall = (bytes: number): boolean => bytes <= SMALL_BYTES;

/** @returns undefined when it takes longer than this may, or when that worker can't: then it is for the queue. */
export async function applySmallCycle(cycle: CycleToApply): Promise<AppliedCycle | undefined> {
  try {
    return await here.applyCycle(cycle);
  } catch (error) {
    if (isForTheQueue(error)) return undefined;
    throw error;
  } finally {
    localWorkEnds();
  }
}

/**
 * Of a worker of before, that has no such activity, too. The SDK wraps a timeout into an ActivityFailure, but not on replay:
 * a worker that takes the workflow over finds the bare TimeoutFailure of the marker, and has to come to the same.
 */
function isForTheQueue(error: unknown): boolean {
  const reason = error instanceof ActivityFailure ? error.cause : error;
  return reason instanceof TimeoutFailure || (reason instanceof ApplicationFailure && reason.type === 'NotFoundError');
}
