import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { formatSeconds, isoTimeSchema, secondsBetween, toIso, toMs } from '../../domain/time.js';

it('times can be converted to text and back', () => {
  fc.assert(
    fc.property(fc.integer({ min: 0, max: Date.UTC(2200, 0) }), (ms) => {
      expect(toMs(toIso(ms))).toBe(ms);
      expect(isoTimeSchema.parse(toIso(ms))).toBe(toIso(ms));
    }),
  );
});

it.each(['', 'now', '2026-03-01', '2026-03-01T10:00:00', '2026-13-01T10:00:00Z', '2026-03-01T10:00:00+01:00'])(
  'is no time in UTC: "%s"',
  (text) => {
    expect(isoTimeSchema.safeParse(text).success).toBe(false);
  },
);

it('seconds between two times are whole and never negative', () => {
  expect(secondsBetween('2026-03-01T10:00:00.000Z', '2026-03-01T10:00:01.499Z')).toBe(1);
  expect(secondsBetween('2026-03-01T10:00:00.000Z', '2026-03-01T10:00:01.500Z')).toBe(2);
  expect(secondsBetween('2026-03-01T10:00:01Z', '2026-03-01T10:00:00Z')).toBe(0);
});

describe('formatSeconds', () => {
  it.each([
    [0, '0 s'],
    [-5, '0 s'],
    [59.4, '59 s'],
    [59.5, '1 min'],
    [61, '1 min 1 s'],
    [3_600, '1 h'],
    [3_659, '1 h'],
    [3_660, '1 h 1 min'],
    [86_399, '23 h 59 min'],
    [90_061, '1 d 1 h'],
    [86_460, '1 d'],
    [86_400 * 400, '400 d'],
  ])('%d is %s', (seconds, text) => {
    expect(formatSeconds(seconds)).toBe(text);
  });

  it('never shows more than the duration, nor less by a whole unit of the second one shown', () => {
    const size = { d: 86_400, h: 3_600, min: 60, s: 1 };
    const below = { d: 3_600, h: 60, min: 1, s: 1 };
    fc.assert(
      fc.property(fc.nat(10 * 86_400), (seconds) => {
        const words = formatSeconds(seconds).split(' ');
        let told = 0;
        for (let at = 0; at < words.length; at += 2)
          told += Number(words[at]) * size[words[at + 1] as keyof typeof size];
        expect(told).toBeLessThanOrEqual(seconds);
        expect(seconds - told).toBeLessThan(below[words[1] as keyof typeof below]);
      }),
    );
  });
});
