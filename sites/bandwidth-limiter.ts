/**
 * The bandwidth of one process: a token bucket that all its senders share, in order of arrival. The rate may change
 * while they wait, when working hours begin or end.
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

/** A waiting sender checks this often whether another limit applies, ms. */
const LOOK_AGAIN_MS = 1_000;
/** Tokens that accumulate while nothing is sent, as time at the lowest limit, ms. */
const BURST_MS = 1_000;
const SMALLEST_BURST = 64 * 1024;
const PAGE = 4096;
/** Limit of the debt, as time at the current limit, ms: so content still makes progress, whatever else is sent. */
const MOST_OWED_MS = 10 * 60_000;

export class BandwidthLimiter {
  /** Bytes that may be sent at once after a pause, a multiple of 4096; Infinity if there is never a limit. */
  readonly burst: number;
  readonly #rule: BandwidthRule;
  readonly #clock: Clock;
  readonly #turn = new Semaphore(1);
  /**
   * Bytes that may be sent now; Infinity after a time without limit, negative after bytes were sent without waiting.
   */
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
   * Waits until bytes may be sent: all of them or, while a limit applies, at most the burst.
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

  /** For data that does not wait because it carries fences: the next sender waits for these bytes as well. */
  spend(bytes: number): void {
    this.#save();
    this.#saved = Math.max(this.#saved - bytes, (-this.#rate * MOST_OWED_MS) / 1000);
  }

  /** Adds the tokens since the last call. If the rate has changed meanwhile, the lower one applies. */
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
