/** Keeps a long activity alive in the server's eyes and carries its progress there. */
import { Context } from '@temporalio/activity';
import { FailedAt } from './failures.js';
import { beatsItself, HEARTBEAT_EVERY_MS } from './keep-alive.js';

/** Work that does not get on for so long hangs: it is not kept alive any more, and the server lets it go. ms. */
const HANGS_AFTER_MS = 60 * 60_000;

export interface Beating {
  /** Aborts when the activity is cancelled or the worker shuts down. */
  readonly signal: AbortSignal;
  /** @param progress of the whole step, growing, bytes. */
  readonly onProgress: (progress: { readonly bytesDone: number }) => void;
  /** It gets on, if too slowly for `onProgress` to tell. */
  alive(): void;
  /** Whether it waits for others, however long: then it does not hang, and the heartbeat says so. */
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
    // The server knows nothing of it.
    if (context.info.isLocal) return;
    if (waitsForItsTurn) context.heartbeat({ bytesDone, waitsForItsTurn });
    else if (Date.now() - aliveAt < HANGS_AFTER_MS) context.heartbeat({ bytesDone });
  };
  // Of what begins nobody has to know how far it is; most of it is over before a heartbeat is due.
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
