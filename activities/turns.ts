/**
 * Turns for the long activities of one process. Copies and cycles have separate queues, so that many copies do not
 * delay a cycle; short work takes no turn. A waiting activity is running and sends heartbeats, so it is not taken for a
 * worker that does not answer.
 */
import { Semaphore } from '../concurrency/semaphore.js';
import { beating, type Beating } from './heartbeat.js';

export interface TurnLimits {
  /** Number of copies, resynchronizations and verifications, including reading back, that work at the same time. */
  readonly copies: number;
  /** Number of cycles that are sent or applied at the same time. */
  readonly cycles: number;
}

const USUAL_LIMITS: TurnLimits = { copies: 2, cycles: 8 };

export class Turns {
  readonly #slots: Readonly<Record<keyof TurnLimits, Semaphore>>;

  constructor({ copies, cycles }: TurnLimits = USUAL_LIMITS) {
    this.#slots = { copies: new Semaphore(copies), cycles: new Semaphore(cycles) };
  }

  /** Runs a whole activity: sends heartbeats, waits for a turn, works. @param startAt of its progress, bytes. */
  beating<T>(kind: keyof TurnLimits, startAt: number, work: (beat: Beating) => Promise<T>): Promise<T> {
    return beating(startAt, (beat) => this.take(kind, beat, () => work(beat)));
  }

  /** Waits for a turn, in order of arrival, then works. Rejects with the reason when the activity is cancelled. */
  async take<T>(kind: keyof TurnLimits, beat: Beating, work: () => Promise<T>): Promise<T> {
    const slots = this.#slots[kind];
    if (slots.busy) beat.waits(true);
    return await slots.run(async () => {
      beat.waits(false);
      return await work();
    }, beat.signal);
  }
}
