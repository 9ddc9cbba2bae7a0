/** Sends the heartbeats of a long activity, which carry its progress to the server. */
import { Context } from '@temporalio/activity';
import { FailedAt } from './failures.js';
import { beatsItself, HEARTBEAT_EVERY_MS } from './keep-alive.js';

/**
 * An activity that makes no progress for this long is considered hung: its heartbeats stop, and the server gives it up.
 * ms.
 */
const HANGS_AFTER_MS = 60 * 60_000;

export interface Beating {
  /** Aborts when the activity is cancelled or the worker shuts down. */
  readonly signal: AbortSignal;
  /** @param progress of the whole step, growing, bytes. */
  readonly onProgress: (progress: { readonly bytesDone: number }) => void;
  /** Reports progress that is too slow for `onProgress` to show. */
  alive(): void;
  /**
   * Sets whether the activity waits for its turn. While it waits, it is not considered hung, and its heartbeats say so.
   */
  waits(waits: boolean): void;
}

export async function beating<T>(startAt: number, work: (beat: Beating) => Promise<T>): Promise<T> {
  const context = Context.current();
  beatsItself(context);
  let bytesDone = startAt;
  let aliveAt = Date.now();
  let waitsForItsTurn = false;
  const alive = () => {
    aliveAt = Date.now();
  };
  const beat = () => {
    // The server knows nothing of a local activity.
    if (context.info.isLocal) return;
    if (waitsForItsTurn) context.heartbeat({ bytesDone, waitsForItsTurn });
    else if (Date.now() - aliveAt < HANGS_AFTER_MS) context.heartbeat({ bytesDone });
  };
  // Sends an immediate heartbeat only for resumed work: most activities end before a heartbeat is due.
  if (startAt > 0) beat();
  const timer = setInterval(beat, HEARTBEAT_EVERY_MS);
  try {
    return await work({
      signal: context.cancellationSignal,
      onProgress: (progress) => {
        if (progress.bytesDone !== bytesDone) alive();
        bytesDone = progress.bytesDone;
      },
      alive,
      waits: (waits) => {
        if (waits === waitsForItsTurn) return;
        waitsForItsTurn = waits;
        alive();
        beat();
      },
    });
  } catch (error) {
    throw new FailedAt(error, { bytesDone });
  } finally {
    clearInterval(timer);
  }
}
