import { sdkWarnings } from '../support/quiet-runtime.js';

/** What the test server says when it refuses to cancel what has ended. */
const REFUSALS = /ACTIVITY_UNKNOWN|invalid history builder state for action/;

/** By these words vitest.config.ts knows a test that is to be begun again. */
const STUCK = 'the test server is stuck:';

/** @param ms that it was waited for. */
export const stuckFor = (ms: number): Error => new Error(`${STUCK} it let no time pass for ${ms / 1000} s`);

/**
 * Calls `listener` when the test server gets stuck, until the function returned is called.
 *
 * It does where an activity or a timer ends just while a task of its workflow is under way, and that task cancels it. A
 * real server takes such a task. The test server refuses it, having noted it as done, so that it gives it to no worker
 * again; nor does it let time skip any more. Whoever awaits that workflow would wait until the test times out. Which of
 * the two comes first is chance: a test in which a job is cancelled has it wait for something, a retry for one.
 */
export function onStuckServer(listener: (error: Error) => void): () => void {
  const since = Date.now();
  const hear = ({ meta, timestampNanos }: { meta?: unknown; timestampNanos: bigint }): void => {
    const error = String((meta as { error?: unknown } | undefined)?.error);
    // Warnings come late: this one may be of another server.
    if (Number(timestampNanos / 1_000_000n) < since || !REFUSALS.test(error)) return;
    listener(new Error(`${STUCK} it refused a workflow task with ${error}`));
  };
  sdkWarnings.on('warning', hear);
  return () => void sdkWarnings.off('warning', hear);
}
