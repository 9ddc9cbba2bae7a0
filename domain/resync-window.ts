/**
 * When a resynchronization may begin by itself: outside office hours, in a time zone of its own. The instants are
 * computed outside workflows, as the time zone tables of two Node builds may differ.
 */
import { z } from 'zod';
import { isBetween, localClock, MINUTES_A_DAY, timeOfDaySchema, toMinutes } from './local-time.js';

const MINUTE_MS = 60_000;

export const resyncWindowSchema = z.union([
  z.literal('always'),
  z
    .strictObject({
      from: timeOfDaySchema.default('18:30'),
      to: timeOfDaySchema.default('06:00'),
      timeZone: z.string().default('UTC').describe('A name of the time zone database.'),
    })
    .refine(({ from, to }) => from !== to, { error: 'the window is empty; write always for all day', path: ['to'] }),
]);
export type ResyncWindow = z.infer<typeof resyncWindowSchema>;

/**
 * The first instant from `now` on that lies in the window.
 * @param now ms since the epoch. @param skipOpen true: the window that is open now does not count. @returns ms.
 */
export function windowOpening(window: ResyncWindow, now: number, skipOpen = false): number {
  if (window === 'always') return now;
  const clock = localClock(window.timeZone);
  const minuteOf = (ms: number) => clock(ms).minute;
  const [from, to] = [toMinutes(window.from), toMinutes(window.to)];
  const isOpen = (minute: number) => isBetween(minute, from, to);
  if (isOpen(minuteOf(now)) && !skipOpen) return now;
  const ahead = (from - minuteOf(now) + MINUTES_A_DAY) % MINUTES_A_DAY || MINUTES_A_DAY;
  let opening = now - (now % MINUTE_MS) + ahead * MINUTE_MS;
  // Clocks may have been put forward or back on the way there; the second look is for an opening in the skipped hour.
  for (let look = 0; look < 2; look += 1) {
    const off = (from - minuteOf(opening) + MINUTES_A_DAY) % MINUTES_A_DAY;
    opening += (off > MINUTES_A_DAY / 2 ? off - MINUTES_A_DAY : off) * MINUTE_MS;
  }
  return isOpen(minuteOf(opening)) ? opening : opening + 60 * MINUTE_MS;
}
