/**
 * Heartbeats of the activities that send none of their own, so that work which takes minutes (shutting a guest down,
 * creating a VM in a cloud) is not taken for a worker that has died. They tell only that the process lives: a call that
 * hangs is ended by the time limit of its kind of work (`workflows/activity-table.ts`).
 */
import type { Context } from '@temporalio/activity';

/** Well below the heartbeat timeout of 30 s; the SDK throttles on its own. */
export const HEARTBEAT_EVERY_MS = 2_000;

const timers = new WeakMap<Context, NodeJS.Timeout>();

/** @returns ends it. Where the caller expects no heartbeats, there are none: what such an activity sends is all it tells. */
export function keepAlive(context: Context): () => void {
  // The server may say 0, too.
  if (!context.info.heartbeatTimeoutMs) return () => undefined;
  const timer = setInterval(() => context.heartbeat(), HEARTBEAT_EVERY_MS);
  timers.set(context, timer);
  return () => clearInterval(timer);
}

/** From here on the activity sends its own, which tell how far it is. */
export function beatsItself(context: Context): void {
  clearInterval(timers.get(context));
}
