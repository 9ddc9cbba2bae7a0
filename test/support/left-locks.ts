/**
 * What a test leaves on a time-skipping server: locks on its time that nobody takes off. A task holds one while it is under
 * way, and where its workflow is closed meanwhile, or the parent of one that ends has ended, it stays. No time is skipped
 * any more then. Taking such locks off costs next to nothing beside another server.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { TestWorkflowEnvironment } from '@temporalio/testing';

/** A server that skips a minute does so at once, and answers. ms */
const SKIPS_WITHIN_MS = 1_000;
/** It is given up then. ms */
const ANSWERS_WITHIN_MS = 20_000;
const MOST_LOCKS = 4;
/** How long the time that is not to be skipped is looked at, ms. */
const LOOK_MS = 900;

/** One that was left, or, where none was, one that holds the time for somebody. */
export const takeLockOff = async (env: TestWorkflowEnvironment): Promise<void> =>
  void (await env.connection.testService?.unlockTimeSkipping({}).catch(() => {}));

/**
 * Takes off what locks are left, while nothing runs.
 * @returns false when the server is of no use any more.
 */
export async function skipsAgain(env: TestWorkflowEnvironment): Promise<boolean> {
  let skipped = false;
  const slept = env.connection
    .withDeadline(Date.now() + ANSWERS_WITHIN_MS, () => env.sleep(60_000))
    .then(
      () => void (skipped = true),
      () => {},
    );
  // The sleep of a test that has timed out may never end: this one would never begin.
  const waited = () => Promise.race([slept, sleep(SKIPS_WITHIN_MS)]);
  await waited();
  let takenOff = 0;
  for (; !skipped && takenOff < MOST_LOCKS; takenOff += 1) {
    await takeLockOff(env);
    await waited();
  }
  return skipped && (takenOff === 0 || (await keepsTime(env)));
}

/** Whether time passes as it does elsewhere: one that was only slow has now too few locks, and runs ahead of its next test. */
async function keepsTime(env: TestWorkflowEnvironment): Promise<boolean> {
  const before = await env.currentTimeMs();
  const since = performance.now();
  await env.connection.testService!.sleep({ duration: { nanos: LOOK_MS * 1_000_000 } });
  const elapsed = performance.now() - since;
  return (await env.currentTimeMs()) - before - elapsed < LOOK_MS / 2;
}
