/**
 * How fast a host may send to the store: a limit for working hours, which have their own time zone, and one for other
 * times.
 */
import { z } from 'zod';
import { isBetween, isTimeZone, localClock, timeOfDaySchema, toMinutes, weekdays, type Weekday } from './local-time.js';

const bitsOfUnit: Readonly<Record<string, number>> = { kbit: 1e3, Mbit: 1e6, Gbit: 1e9 };
const RATE = /^(\d+(?:\.\d+)?) ?(kbit|Mbit|Gbit)\/s$/;
/** At a lower rate, one slice of a copy would take hours. */
const SLOWEST_BITS = 64e3;

/** Text such as `50 Mbit/s`, in decimal units, as is usual for networks. */
const rateSchema = z
  .string()
  .regex(RATE, { error: 'expected a rate such as 50 Mbit/s, in kbit/s, Mbit/s or Gbit/s', abort: true })
  .refine((text) => bytesPerSecond(text) * 8 >= SLOWEST_BITS, { error: 'expected a rate of at least 64 kbit/s' });

const workHoursSchema = z
  .strictObject({
    from: timeOfDaySchema,
    to: timeOfDaySchema,
    days: z
      .array(z.enum(weekdays))
      .min(1, { error: 'expected at least one day; leave the field out for mon to fri' })
      .default(['mon', 'tue', 'wed', 'thu', 'fri'])
      .describe('Days on which the working hours begin.'),
    timeZone: z
      .string()
      .refine(isTimeZone, { error: 'unknown time zone; expected a name such as Europe/Paris or UTC' })
      .default('UTC')
      .describe('A time zone name such as Europe/Paris.'),
    limit: rateSchema.describe('The limit within these hours, such as 10 Mbit/s.'),
  })
  .refine(({ from, to }) => from !== to, {
    error: 'the working hours are empty; for one limit all day, remove workHours and set only limit',
    path: ['to'],
  });

export const bandwidthSchema = z
  .strictObject({
    limit: rateSchema
      .optional()
      .describe('The limit at all times, or outside the working hours, such as 50 Mbit/s. Left out: unlimited.'),
    workHours: workHoursSchema.optional().describe('Hours with a different limit; they may span midnight.'),
  })
  .refine(({ limit, workHours }) => limit !== undefined || workHours !== undefined, {
    error: 'expected limit, workHours or both; to limit nothing, leave out bandwidth',
  });
export type Bandwidth = z.infer<typeof bandwidthSchema>;

export interface BandwidthRule {
  /** The limit at an instant, bytes per second; undefined if there is none. @param now ms since the epoch. */
  rateAt(now: number): number | undefined;
  /** The lowest limit at any time, bytes per second. */
  readonly lowest: number;
}

export function bandwidthRule({ limit, workHours }: Bandwidth): BandwidthRule {
  const usual = limit === undefined ? undefined : bytesPerSecond(limit);
  if (!workHours) return { rateAt: () => usual, lowest: usual ?? Infinity };
  const atWork = bytesPerSecond(workHours.limit);
  const clock = localClock(workHours.timeZone);
  const [from, to] = [toMinutes(workHours.from), toMinutes(workHours.to)];
  const isWorkTime = (now: number) => {
    const { minute, weekday } = clock(now);
    if (!isBetween(minute, from, to)) return false;
    const sinceMidnight = from > to && minute < to;
    return workHours.days.includes(sinceMidnight ? dayBefore(weekday) : weekday);
  };
  return {
    rateAt: (now) => (isWorkTime(now) ? atWork : usual),
    lowest: Math.min(atWork, usual ?? Infinity),
  };
}

const dayBefore = (day: Weekday): Weekday => weekdays[(weekdays.indexOf(day) + weekdays.length - 1) % weekdays.length]!;

function bytesPerSecond(rate: string): number {
  const [, number, unit] = RATE.exec(rate)!;
  return (Number(number) * bitsOfUnit[unit!]!) / 8;
}
