import type { TestWorkflowEnvironment } from '@temporalio/testing';
import { sdkWarnings } from '../support/quiet-runtime.js';

/** What the test server says when it refuses to cancel what has ended. */
const REFUSALS = /ACTIVITY_UNKNOWN|invalid history builder state for action/;

/** By these words vitest.config.ts knows a test that is to be begun again. */
const STUCK = 'the test server is stuck:';

/** No test goes without skipping time for so long, ms, neither by a sleep nor by awaiting a result. */
const SKIPS_WITHIN_MS = 90_000;
const LOOK_EVERY_MS = 5_000;
/** More than an answer takes that is late. */
const SKIPPED_MS = 500;

/**
 * Calls `listener` when the test server gets stuck, until the function returned is called.
 *
 * It does where an activity or a timer ends just while a task of its workflow is under way, and that task cancels it. A
 * real server takes such a task. The test server refuses it, having noted it as done, so that it gives it to no worker
 * again; nor does it let time skip any more. It skips none either once a workflow was closed while a task of it was under
 * way. Whoever awaits a workflow then would wait until the test times out. Which of the two comes first is chance: a test
 * in which a job is cancelled has it wait for something, a retry for one.
 */
export function onStuckServer(env: TestWorkflowEnvironment, listener: (error: Error) => void): () => void {
  const since = Date.now();
  const hear = ({ meta, timestampNanos }: { meta?: unknown; timestampNanos: bigint }): void => {
    const error = String((meta as { error?: unknown } | undefined)?.error);
    // Warnings come late: this one may be of another server.
    if (Number(timestampNanos / 1_000_000n) < since || !REFUSALS.test(error)) return;
    listener(new Error(`${STUCK} it refused a workflow task with ${error}`));
  };
  sdkWarnings.on('warning', hear);
  const unwatch = env.supportsTimeSkipping ? onTimeNotSkipped(env, listener) : () => {};
  return () => {
    sdkWarnings.off('warning', hear);
    unwatch();
  };
}

/** Its time is ahead of ours by what it has skipped: where that grows no more, it skips nothing. */
function onTimeNotSkipped(env: TestWorkflowEnvironment, listener: (error: Error) => void): () => void {
  let ahead = -Infinity;
  let skippedAt = performance.now();
  const look = async (): Promise<void> => {
    const seen = (await env.currentTimeMs()) - Date.now();
    if (seen < ahead + SKIPPED_MS) return;
    ahead = seen;
    skippedAt = performance.now();
  };
  const looking = setInterval(() => {
    // A server that does not answer skips nothing either.
    void look().catch(() => {});
    if (performance.now() - skippedAt > SKIPS_WITHIN_MS)
      listener(new Error(`${STUCK} it skipped no time for ${SKIPS_WITHIN_MS / 1000} s`));
  }, LOOK_EVERY_MS);
  return () => clearInterval(looking);
}
