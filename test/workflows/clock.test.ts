import { expect, it } from 'vitest';
import { now, nowMs, withoutClock } from '../../workflows/clock.js';

it('a condition that reads the clock throws, and the clock works again for others', () => {
  for (const read of [nowMs, now]) {
    expect(() => withoutClock(() => read() !== '')).toThrow('A condition has to look at state only');
  }
  expect(nowMs()).toBeGreaterThan(0);
  expect(withoutClock(() => 7)).toBe(7);
});
