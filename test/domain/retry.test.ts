import fc from 'fast-check';
import { expect, it } from 'vitest';
import { retryDelayMs } from '../../domain/retry.js';

it('waits 1, 2, 4, 8 and 10 minutes, then half an hour each time', () => {
  const minutes = Array.from({ length: 8 }, (_, failed) => retryDelayMs(failed + 1) / 60_000);
  expect(minutes).toEqual([1, 2, 4, 8, 10, 30, 30, 30]);
  fc.assert(fc.property(fc.integer({ min: 6, max: 100_000 }), (failed) => retryDelayMs(failed) === 30 * 60_000));
});

it('never waits less after more attempts', () => {
  fc.assert(fc.property(fc.integer({ min: 0, max: 50 }), (failed) => retryDelayMs(failed) <= retryDelayMs(failed + 1)));
});
