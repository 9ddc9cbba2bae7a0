/** Parser for options that are a time span. */
import { InvalidArgumentError } from 'commander';
import { LONGEST_DRILL_SECONDS, SHORTEST_DRILL_SECONDS } from '../../domain/drill-limits.js';
import { formatSeconds } from '../../domain/time.js';

const units: Readonly<Record<string, number>> = { s: 1, m: 60, h: 3_600, d: 86_400 };

/** Time to live of a test VM, such as `8h`. @returns seconds. */
export function drillDuration(text: string): number {
  const [, count, unit] = /^(\d+)([smhd])$/.exec(text) ?? [];
  if (count === undefined || unit === undefined)
    throw new InvalidArgumentError('Expected a number and a unit (s, m, h or d), such as 30m, 8h or 3d.');
  const seconds = Number(count) * units[unit]!;
  if (seconds >= SHORTEST_DRILL_SECONDS && seconds <= LONGEST_DRILL_SECONDS) return seconds;
  throw new InvalidArgumentError(
    `Expected a time from ${formatSeconds(SHORTEST_DRILL_SECONDS)} to ${formatSeconds(LONGEST_DRILL_SECONDS)}.`,
  );
}
