/**
 * When a resynchronization may start automatically: outside office hours, in the window's own time zone. The instants
 * are computed outside workflows, because the time zone data of two Node builds may differ.
 */
import { z } from 'zod';
import { localTime, MINUTES_A_DAY, timeOfDaySchema, toMinutes } from './local-time.js';

const MINUTE_MS = 60_000;
const DAY_MS = MINUTES_A_DAY * MINUTE_MS;

export const resyncWindowSchema = z.union([
  z.literal('always'),
  z
    .strictObject({
      from: timeOfDaySchema.default('18:30'),
      to: timeOfDaySchema.default('06:00'),
      timeZone: z.string().default('UTC').describe('A time zone name such as Europe/Paris.'),
    })
    .refine(({ from, to }) => from !== to, {
      error: 'the window is empty; write always to allow it all day',
      path: ['to'],
    }),
]);
export type ResyncWindow = z.infer<typeof resyncWindowSchema>;

/**
 * The first instant at or after `now` in the window. If daylight saving time skips a local time, the instant lies as
 * far after the jump as the local time lies after the start of the skipped hour. If a local time occurs twice, the
 * first one counts.
 * @param now ms since the epoch.
 * @param skipOpen if true, a window that is open now does not count.
 * @returns ms.
 */
export function windowOpening(window: ResyncWindow, now: number, skipOpen = false): number {
  if (window === 'always') return now;
  const local = localTime(window.timeZone);
  const [from, to] = [toMinutes(window.from), toMinutes(window.to)];
  const isOverMidnight = to < from;
  const today = Math.floor(local(now) / DAY_MS);
  for (let day = today - 1; ; day += 1) {
    const at = (minutes: number, dayOf: number) => instantOf(local, dayOf * DAY_MS + minutes * MINUTE_MS);
    const closing = at(to, isOverMidnight ? day + 1 : day);
    // If the window's start is skipped but its end is not, the window is shorter.
    const opening = Math.min(at(from, day), closing - MINUTE_MS);
    if (now < opening) return opening;
    if (now < closing && !skipOpen) return now;
  }
}

/** @param wanted local time, as ms. */
function instantOf(local: (ms: number) => number, wanted: number): number {
  const by = (offsetAt: number) => wanted - (local(offsetAt) - offsetAt);
  const candidates = [by(wanted - DAY_MS), by(wanted + DAY_MS)];
  const shown = candidates.filter((instant) => local(instant) === wanted);
  return shown.length > 0 ? Math.min(...shown) : candidates[0]!;
}
