/**
 * Sends heartbeats for activities that send none themselves, so that work of several minutes (shutting a guest down,
 * creating a VM in a cloud) is not taken for a dead worker. They only show that the process lives: the time limit of
 * its kind of work (`workflows/activity-table.ts`) ends a call that hangs.
 */
import type { Context } from '@temporalio/activity';

/** Well below the heartbeat timeout of 30 s; the SDK also throttles. */
export const HEARTBEAT_EVERY_MS = 2_000;

const timers = new WeakMap<Context, NodeJS.Timeout>();

/**
 * @returns a function that stops the heartbeats. Sends none if the caller expects none: such an activity's own
 * heartbeats carry data.
 */
export function keepAlive(context: Context): () => void {
  // The server may also say 0.
  if (!context.info.heartbeatTimeoutMs) return () => undefined;
  const timer = setInterval(() => context.heartbeat(), HEARTBEAT_EVERY_MS);
  timers.set(context, timer);
  return () => clearInterval(timer);
}

/** From here on, the activity sends its own heartbeats, which carry its progress. */
export function beatsItself(context: Context): void {
  clearInterval(timers.get(context));
}
