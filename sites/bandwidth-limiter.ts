/**
 * The bandwidth of one process: a token bucket that all its senders share, first come, first served. The rate may change
 * while they wait, as working hours begin and end.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { BandwidthRule } from '../domain/bandwidth.js';
import { alignDown } from '../domain/ranges.js';
import { Semaphore } from '../concurrency/semaphore.js';

export interface Clock {
  /** ms since the epoch. */
  now(): number;
  /** Rejects with an AbortError when the signal aborts. */
  sleep(ms: number, signal: AbortSignal | undefined): Promise<unknown>;
}

const systemClock: Clock = {
  now: () => Date.now(),
  sleep: (ms, signal) => sleep(ms, undefined, signal && { signal }),
};

/** Who waits looks this often whether another limit holds by now, ms. */
const LOOK_AGAIN_MS = 1_000;
/** What is saved up while nobody sends, of the lowest limit, ms. */
const BURST_MS = 1_000;
const SMALLEST_BURST = 64 * 1024;
const PAGE = 4096;
/** Most that is made up for, ms of the limit that holds: content gets on, whatever is sent beside it. */
const MOST_OWED_MS = 10 * 60_000;

export class BandwidthLimiter {
  /** Bytes that may be sent at once after a rest, a multiple of 4096; Infinity when nothing is limited, ever. */
  readonly burst: number;
  readonly #rule: BandwidthRule;
  readonly #clock: Clock;
  readonly #turn = new Semaphore(1);
  /** Bytes that may be sent now; Infinity after a time without limit, negative while some were sent without being asked for. */
  #saved: number;
  #rate: number;
  #at: number;

  constructor(rule: BandwidthRule, clock: Clock = systemClock) {
    const { lowest } = rule;
    this.burst =
      lowest === Infinity
        ? Infinity
        : Math.max(SMALLEST_BURST, alignDown(Math.floor((lowest * BURST_MS) / 1000), PAGE));
    this.#rule = rule;
    this.#clock = clock;
    this.#at = clock.now();
    this.#rate = this.#rateAt(this.#at);
    this.#saved = this.burst;
  }

  /**
   * Waits until something may be sent: all of it, or, while a limit holds, no more than the burst.
   * @param wanted bytes. @returns bytes that may be sent now. Rejects with the signal's reason when it aborts.
   */
  async take(wanted: number, signal?: AbortSignal): Promise<number> {
    return await this.#turn.run(async () => {
      for (;;) {
        signal?.throwIfAborted();
        this.#save();
        const granted = this.#rate === Infinity ? wanted : Math.min(wanted, this.burst);
        if (this.#saved >= granted) {
          this.#saved -= granted;
          return granted;
        }
        const ms = Math.ceil(((granted - this.#saved) / this.#rate) * 1000);
        await this.#sleep(Math.min(ms, LOOK_AGAIN_MS), signal);
      }
    }, signal);
  }

  /** Of what does not wait, as it carries fences: whoever asks next waits for these bytes, too. */
  spend(bytes: number): void {
    this.#save();
    this.#saved = Math.max(this.#saved - bytes, (-this.#rate * MOST_OWED_MS) / 1000);
  }

  /** Adds what may be sent since the last look. Where the rate has changed meanwhile the lower one counts. */
  #save(): void {
    const now = this.#clock.now();
    const rate = this.#rateAt(now);
    const elapsed = Math.max(0, now - this.#at);
    const counts = Math.min(rate, this.#rate);
    if (rate === Infinity) this.#saved = Infinity;
    else this.#saved = Math.min(this.burst, this.#saved + (counts * elapsed) / 1000);
    this.#rate = rate;
    this.#at = now;
  }

  #rateAt(now: number): number {
    return this.#rule.rateAt(now) ?? Infinity;
  }

  async #sleep(ms: number, signal: AbortSignal | undefined): Promise<void> {
    try {
      await this.#clock.sleep(ms, signal);
    } catch (error) {
      signal?.throwIfAborted();
      throw error;
    }
  }
}
