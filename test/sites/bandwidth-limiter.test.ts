import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { BandwidthRule } from '../../domain/bandwidth.js';
import { BandwidthLimiter } from '../../sites/bandwidth-limiter.js';
import { FakeClock } from './fake-clock.js';

const SECOND = 1_000;
const always = (rate: number): BandwidthRule => ({ rateAt: () => rate, lowest: rate });

/** Several senders that go on until each has sent all of its pieces. @returns when how much was sent. */
async function send(limiter: BandwidthLimiter, clock: FakeClock, senders: readonly (readonly number[])[]) {
  const sent: { at: number; bytes: number }[] = [];
  await clock.drive(
    Promise.all(
      senders.map(async (pieces) => {
        for (const piece of pieces) {
          for (let left = piece; left > 0;) {
            const bytes = await limiter.take(left);
            sent.push({ at: clock.now(), bytes });
            left -= bytes;
          }
        }
      }),
    ),
  );
  return sent;
}

describe('sending under a limit', () => {
  test('never exceeds what the rate allows plus one burst, in any period of time', async () => {
    const pieces = fc.array(fc.integer({ min: 1, max: 1_000_000 }), { minLength: 1, maxLength: 5 });
    const senders = fc.array(pieces, { minLength: 1, maxLength: 4 });
    const rates = fc.tuple(fc.integer({ min: 8_000, max: 2_000_000 }), fc.integer({ min: 8_000, max: 2_000_000 }));
    await fc.assert(
      fc.asyncProperty(senders, rates, fc.integer({ min: 1, max: 60 }), async (work, [day, night], changeEvery) => {
        const clock = new FakeClock(0);
        const rateAt = (now: number) => (Math.floor(now / (changeEvery * SECOND)) % 2 === 0 ? day : night);
        const limiter = new BandwidthLimiter({ rateAt, lowest: Math.min(day, night) }, clock);
        const sent = await send(limiter, clock, work);
        expect(sent.reduce((sum, { bytes }) => sum + bytes, 0)).toBe(
          work.flat().reduce((sum, piece) => sum + piece, 0),
        );
        // Bytes that the rates allow up to an instant.
        const period = changeEvery * SECOND;
        const allowedUntil = (ms: number) => {
          const [pairs, rest] = [Math.floor(ms / (2 * period)), ms % (2 * period)];
          const byDay = pairs * period + Math.min(rest, period);
          return (byDay * day + (ms - byDay) * night) / SECOND;
        };
        // Most by which any stretch so far has gone past what it allows: all that count are those that end now.
        let excess = 0;
        let before = sent[0]!.at;
        for (const { at, bytes } of sent) {
          excess = Math.max(0, excess - (allowedUntil(at) - allowedUntil(before))) + bytes;
          before = at;
          expect(excess).toBeLessThanOrEqual(limiter.burst + 1);
        }
      }),
      { numRuns: 40 },
    );
  });

  test('reaches the rate', async () => {
    const clock = new FakeClock();
    const began = clock.now();
    await send(new BandwidthLimiter(always(1_000_000), clock), clock, [[30_000_000], [30_000_000]]);
    const seconds = (clock.now() - began) / SECOND;
    // One burst was there at the beginning.
    expect(seconds).toBeGreaterThanOrEqual(59);
    expect(seconds).toBeLessThan(60.5);
  });

  test('senders take turns', async () => {
    const clock = new FakeClock();
    const limiter = new BandwidthLimiter(always(1_000_000), clock);
    const order: string[] = [];
    const sender = async (name: string) => {
      for (let left = 4_000_000; left > 0;) {
        left -= await limiter.take(left);
        order.push(name);
      }
    };
    await clock.drive(Promise.all([sender('a'), sender('b')]));
    expect(order.join('')).toMatch(/^(ab)+$/);
  });
});

describe('sending without waiting', () => {
  test('makes the next sender wait', async () => {
    const clock = new FakeClock();
    const limiter = new BandwidthLimiter(always(1_000_000), clock);
    const began = clock.now();
    await send(limiter, clock, [[10_000_000]]);
    limiter.spend(20_000_000);
    await send(limiter, clock, [[10_000_000]]);
    const seconds = (clock.now() - began) / SECOND;
    expect(seconds).toBeGreaterThanOrEqual(39);
    expect(seconds).toBeLessThan(40.5);
  });

  test('makes no sender wait for more than some minutes, however much was sent', async () => {
    const clock = new FakeClock();
    const limiter = new BandwidthLimiter(always(8_000), clock);
    limiter.spend(1e12);
    const began = clock.now();
    await clock.drive(limiter.take(1));
    expect(clock.now() - began).toBeLessThanOrEqual(601 * SECOND);
  });

  test('makes no one wait while there is no limit', async () => {
    const clock = new FakeClock(0);
    const limiter = new BandwidthLimiter({ rateAt: () => undefined, lowest: 8_000 }, clock);
    limiter.spend(1e12);
    expect(await limiter.take(1_000_000)).toBe(1_000_000);
    expect(clock.now()).toBe(0);
  });
});

describe('when another limit begins to hold', () => {
  test('a sender that waits at a low rate continues at the high one after at most a second', async () => {
    const clock = new FakeClock(0);
    const rule: BandwidthRule = { rateAt: (now) => (now < 5 * SECOND ? 8_000 : undefined), lowest: 8_000 };
    await send(new BandwidthLimiter(rule, clock), clock, [[100_000_000]]);
    expect(clock.now()).toBeGreaterThanOrEqual(5 * SECOND);
    expect(clock.now()).toBeLessThanOrEqual(6 * SECOND);
  });

  test('no bandwidth is saved up from a time without limit', async () => {
    const clock = new FakeClock(0);
    const rule: BandwidthRule = { rateAt: (now) => (now < SECOND ? undefined : 100_000), lowest: 100_000 };
    const limiter = new BandwidthLimiter(rule, clock);
    expect(await limiter.take(50_000_000)).toBe(50_000_000);
    clock.advance(10 * SECOND);
    expect(await limiter.take(50_000_000)).toBe(limiter.burst);
    expect(limiter.burst).toBe(98_304);
  });
});

test('a waiting sender can be cancelled, even behind another one, and takes no bandwidth from the others', async () => {
  const clock = new FakeClock();
  const limiter = new BandwidthLimiter(always(1_000_000), clock);
  await limiter.take(Infinity);
  const [first, second] = [new AbortController(), new AbortController()];
  const [sleeping, behind] = [limiter.take(500_000, first.signal), limiter.take(500_000, second.signal)];
  const staying = limiter.take(250_000);
  second.abort(new Error('second'));
  await expect(behind).rejects.toThrow('second');
  first.abort(new Error('first'));
  await expect(sleeping).rejects.toThrow('first');
  const before = clock.now();
  await clock.drive(staying);
  expect(clock.now() - before).toBeLessThanOrEqual(300);
});
