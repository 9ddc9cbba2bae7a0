import { describe, expect, test } from 'vitest';
import { bandwidthRule, bandwidthSchema } from '../../domain/bandwidth.js';

const office = { from: '08:00', to: '18:00', timeZone: 'Europe/Paris', limit: '10 Mbit/s' };
const rule = (value: object) => bandwidthRule(bandwidthSchema.parse(value));
/** Mbit/s at an instant; undefined: unlimited. */
const at = (value: object, time: string) => {
  const rate = rule(value).rateAt(Date.parse(time));
  return rate === undefined ? undefined : (rate * 8) / 1e6;
};

describe('the limit at an instant', () => {
  // 2 March 2026 is a Monday; Paris is an hour ahead of UTC in winter, two in summer.
  test.each<[string, object, string, number | undefined]>([
    ['at all times', { limit: '50 Mbit/s' }, '2026-03-02T03:00:00Z', 50],
    ['just before work', { limit: '50 Mbit/s', workHours: office }, '2026-03-02T06:59:59Z', 50],
    ['when work begins', { limit: '50 Mbit/s', workHours: office }, '2026-03-02T07:00:00Z', 10],
    ['in the last minute of work', { limit: '50 Mbit/s', workHours: office }, '2026-03-02T16:59:59Z', 10],
    ['when work ends', { limit: '50 Mbit/s', workHours: office }, '2026-03-02T17:00:00Z', 50],
    ['in summer', { workHours: office }, '2026-07-06T06:30:00Z', 10],
    ['in winter at the same time', { workHours: office }, '2026-01-05T06:30:00Z', undefined],
    ['on a Sunday', { workHours: office }, '2026-03-01T12:00:00Z', undefined],
    ['on a Sunday that is named', { workHours: { ...office, days: ['sun'] } }, '2026-03-01T12:00:00Z', 10],
    ['on a Monday when only Sunday is', { workHours: { ...office, days: ['sun'] } }, '2026-03-02T12:00:00Z', undefined],
    [
      'after midnight, of hours that began on Friday',
      { workHours: { ...office, from: '22:00', to: '06:00', timeZone: 'UTC', days: ['fri'] } },
      '2026-03-07T05:59:00Z',
      10,
    ],
    [
      'in the night before that Friday',
      { workHours: { ...office, from: '22:00', to: '06:00', timeZone: 'UTC', days: ['fri'] } },
      '2026-03-06T05:59:00Z',
      undefined,
    ],
  ])('%s', (_, value, time, expected) => {
    expect(at(value, time)).toBe(expected);
  });

  test('units are decimal, and the lowest limit is known', () => {
    expect(rule({ limit: '800 kbit/s' }).rateAt(0)).toBe(100_000);
    expect(rule({ limit: '1.5Gbit/s' }).rateAt(0)).toBe(187_500_000);
    expect(rule({ limit: '50 Mbit/s', workHours: office }).lowest).toBe(1_250_000);
    expect(rule({ workHours: office }).lowest).toBe(1_250_000);
  });
});
