/**
 * A small cycle is applied by the worker that runs the workflow, in the task that learns that the cycle was sent. This
 * takes one event of the history instead of six, and a third less of the Temporal server's processor time. A large
 * cycle, or one that takes longer, goes to the Azure worker's queue, where it has heartbeats.
 *
 * While the local activity runs, the workflow receives nothing else, not even an unplanned failover. So its limit is
 * shorter than the 8 s after which the SDK would start another task to keep waiting.
 */
import { ActivityFailure, ApplicationFailure, TimeoutFailure } from '@temporalio/common';
import { ActivityCancellationType, proxyLocalActivities } from '@temporalio/workflow';
import type { AppliedCycle, CycleToApply, TargetActivities } from '../activities/target.js';
import { localWorkEnds } from './history-limit.js';

/** A cycle of this many bytes is applied within a fraction of a second. */
const SMALL_BYTES = 4 * 1024 * 1024;

const here = proxyLocalActivities<Pick<TargetActivities, 'applyCycle'>>({
  scheduleToCloseTimeout: '3 seconds',
  retry: { maximumAttempts: 1 },
  cancellationType: ActivityCancellationType.TRY_CANCEL,
});

export const isSmall = (bytes: number): boolean => bytes <= SMALL_BYTES;

/**
 * @returns undefined if it took longer than allowed or this worker can't do it; the cycle then has to go to the queue.
 */
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
 * Also true for an older worker, which does not have this activity. The SDK wraps a timeout in an ActivityFailure, but
 * not on replay: a worker that takes the workflow over sees the bare TimeoutFailure of the marker, and must reach the
 * same result.
 */
function isForTheQueue(error: unknown): boolean {
  const reason = error instanceof ActivityFailure ? error.cause : error;
  return reason instanceof TimeoutFailure || (reason instanceof ApplicationFailure && reason.type === 'NotFoundError');
}
