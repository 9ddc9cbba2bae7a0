import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { isTimeZone } from '../../domain/local-time.js';
import { resyncWindowSchema, windowOpening, type ResyncWindow } from '../../domain/resync-window.js';

const opening = (window: ResyncWindow, at: string, skipOpen?: boolean) =>
  new Date(windowOpening(window, Date.parse(at), skipOpen)).toISOString();
const night = { from: '18:30', to: '06:00', timeZone: 'UTC' };

describe('the window of a resynchronization', () => {
  test.each([
    ['in the evening', '2026-03-02T20:00:00.000Z', '2026-03-02T20:00:00.000Z'],
    ['after midnight', '2026-03-02T05:59:59.000Z', '2026-03-02T05:59:59.000Z'],
    ['at its end, it is for the next day', '2026-03-02T06:00:00.000Z', '2026-03-02T18:30:00.000Z'],
    ['at noon', '2026-03-02T12:00:07.123Z', '2026-03-02T18:30:00.000Z'],
    ['at its beginning', '2026-03-02T18:30:00.000Z', '2026-03-02T18:30:00.000Z'],
  ])('%s', (_, at, expected) => {
    expect(opening(night, at)).toBe(expected);
  });

  test('a window that is open now does not count after a cancellation', () => {
    expect(opening(night, '2026-03-02T20:00:00.000Z', true)).toBe('2026-03-03T18:30:00.000Z');
    expect(opening(night, '2026-03-02T05:00:00.000Z', true)).toBe('2026-03-02T18:30:00.000Z');
  });

  test('follows its own time zone, also across a change of clocks', () => {
    const paris = { ...night, timeZone: 'Europe/Paris' };
    expect(opening(paris, '2026-01-15T12:00:00.000Z')).toBe('2026-01-15T17:30:00.000Z');
    expect(opening(paris, '2026-07-15T12:00:00.000Z')).toBe('2026-07-15T16:30:00.000Z');
    // The night of 29 March: what is asked at noon before, for half past two, does not exist.
    const gap = { from: '02:30', to: '05:00', timeZone: 'Europe/Paris' };
    expect(opening(gap, '2026-03-28T12:00:00.000Z')).toBe('2026-03-29T01:30:00.000Z');
    expect(opening(gap, '2026-03-29T12:00:00.000Z')).toBe('2026-03-30T00:30:00.000Z');
  });

  test('a window within the hour that the clocks skip opens that night nevertheless', () => {
    const paris = { from: '02:30', to: '02:45', timeZone: 'Europe/Paris' };
    expect(opening(paris, '2027-03-27T12:00:00.000Z')).toBe('2027-03-28T01:30:00.000Z');
    expect(opening(paris, '2027-03-28T01:40:00.000Z')).toBe('2027-03-28T01:40:00.000Z');
    expect(opening(paris, '2027-03-28T01:45:00.000Z')).toBe('2027-03-29T00:30:00.000Z');
    expect(opening(paris, '2027-03-28T01:40:00.000Z', true)).toBe('2027-03-29T00:30:00.000Z');
    // Its end alone is there, and is before where its begin would be.
    const rest = { from: '02:30', to: '03:10', timeZone: 'Europe/Paris' };
    const at = opening(rest, '2027-03-27T12:00:00.000Z');
    expect(at >= '2027-03-28T01:00:00.000Z' && at < '2027-03-28T01:10:00.000Z').toBe(true);
    // Twice that hour, the night they are put back.
    expect(opening(paris, '2026-10-24T12:00:00.000Z')).toBe('2026-10-25T00:30:00.000Z');
  });

  test('the computed opening is in the window, not before now, and within two days', () => {
    const clock = fc
      .tuple(fc.integer({ min: 0, max: 23 }), fc.integer({ min: 0, max: 59 }))
      .map((parts) => parts.map((part) => String(part).padStart(2, '0')).join(':'));
    const zone = fc.constantFrom('UTC', 'Europe/Paris', 'America/New_York', 'Asia/Kolkata', 'Pacific/Auckland');
    const instant = fc.integer({ min: Date.UTC(2026, 0), max: Date.UTC(2027, 0) });
    fc.assert(
      fc.property(clock, clock, zone, instant, (from, to, timeZone, now) => {
        fc.pre(from !== to);
        const window = { from, to, timeZone };
        const at = windowOpening(window, now);
        expect(at).toBeGreaterThanOrEqual(now);
        expect(at - now).toBeLessThan(48 * 3_600_000);
        expect(windowOpening(window, at)).toBe(at);
      }),
    );
  });

  test('refuses an invalid window', () => {
    const problems = (value: unknown) =>
      resyncWindowSchema.safeParse(value).error?.issues.map(({ message }) => message) ?? [];
    expect(problems({ from: '06:00', to: '06:00' }).join()).toMatch(/empty/);
    expect(problems({ from: '25:00' }).length).toBeGreaterThan(0);
    expect(problems('never').length).toBeGreaterThan(0);
    expect(problems('always')).toEqual([]);
    expect([isTimeZone('Europe/Paris'), isTimeZone('Mars/Olympus')]).toEqual([true, false]);
  });
});
