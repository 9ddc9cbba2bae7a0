/** Times of day in a time zone, as site files name them. The time zone data come with the Node build. */
import { z } from 'zod';

export const MINUTES_A_DAY = 24 * 60;

/** The days of the week, in order. */
export const weekdays = ['mon', 'tue', 'wed', 'thu', 'fri', 'sat', 'sun'] as const;
export type Weekday = (typeof weekdays)[number];

export const timeOfDaySchema = z.string().regex(/^([01]\d|2[0-3]):[0-5]\d$/, 'expected a time of day such as 18:30');

export function isTimeZone(name: string): boolean {
  try {
    return new Intl.DateTimeFormat('en', { timeZone: name }).resolvedOptions().timeZone !== '';
  } catch {
    return false;
  }
}

/** `18:30` as minutes since midnight. */
export const toMinutes = (time: string): number => Number(time.slice(0, 2)) * 60 + Number(time.slice(3));

/**
 * Whether a minute of the day lies between two times of day; `from` may be later than `to`: the interval then spans
 * midnight.
 * @param from,
 * @param to minutes since midnight; `to` is not part of the interval.
 */
export const isBetween = (minute: number, from: number, to: number): boolean =>
  from < to ? from <= minute && minute < to : minute >= from || minute < to;

/**
 * @returns a function from an instant, ms since the epoch, to the weekday and the minute of the day in the time zone.
 */
export function localClock(timeZone: string): (ms: number) => { minute: number; weekday: Weekday } {
  const format = new Intl.DateTimeFormat('en-GB', {
    ...{ timeZone, weekday: 'short', hour: '2-digit', minute: '2-digit', hourCycle: 'h23' },
  });
  return (ms) => {
    const parts = new Map(format.formatToParts(ms).map(({ type, value }) => [type, value]));
    return {
      minute: Number(parts.get('hour')) * 60 + Number(parts.get('minute')),
      weekday: parts.get('weekday')!.toLowerCase() as Weekday,
    };
  };
}

/**
 * @returns a function from an instant, ms since the epoch, to the local time in the time zone, expressed as if it were
 * UTC: ms, whole seconds.
 */
export function localTime(timeZone: string): (ms: number) => number {
  const format = new Intl.DateTimeFormat('en-GB', {
    ...{ timeZone, year: 'numeric', month: 'numeric', day: 'numeric' },
    ...{ hour: 'numeric', minute: 'numeric', second: 'numeric', hourCycle: 'h23' },
  });
  return (ms) => {
    const parts = new Map(format.formatToParts(ms).map(({ type, value }) => [type, Number(value)]));
    const [year, month, day] = [parts.get('year')!, parts.get('month')!, parts.get('day')!];
    return Date.UTC(year, month - 1, day, parts.get('hour'), parts.get('minute'), parts.get('second'));
  };
}
