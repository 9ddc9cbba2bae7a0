/**
 * Who of the long activities of one process works now. Copies and cycles wait in queues of their own, so that many copies
 * do not keep a cycle waiting; what is short takes no turn at all. Waiting is part of the running activity: it beats, so
 * it is not taken for a worker that does not answer.
 */
import { Semaphore } from '../concurrency/semaphore.js';
import { beating, type Beating } from './heartbeat.js';

export interface TurnLimits {
  /** Copies, resynchronizations and verifications, and their reading back, that work at a time. */
  readonly copies: number;
  /** Cycles that are sent, or applied, at a time. */
  readonly cycles: number;
}

const USUAL_LIMITS: TurnLimits = { copies: 2, cycles: 8 };

export class Turns {
  readonly #slots: Readonly<Record<keyof TurnLimits, Semaphore>>;

  constructor({ copies, cycles }: TurnLimits = USUAL_LIMITS) {
    this.#slots = { copies: new Semaphore(copies), cycles: new Semaphore(cycles) };
  }

  /** A whole activity that beats, waits for its turn, and works. @param startAt of its progress, bytes. */
  beating<T>(kind: keyof TurnLimits, startAt: number, work: (beat: Beating) => Promise<T>): Promise<T> {
    return beating(startAt, (beat) => this.take(kind, beat, () => work(beat)));
  }

  /** Waits for a turn, first come, first served, then works. Rejects with the reason when the activity is cancelled. */
  async take<T>(kind: keyof TurnLimits, beat: Beating, work: () => Promise<T>): Promise<T> {
    const slots = this.#slots[kind];
    if (slots.busy) beat.waits(true);
    return await slots.run(async () => {
      beat.waits(false);
      return await work();
    }, beat.signal);
  }
}
