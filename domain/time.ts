/**
 * Times are ISO 8601 strings in UTC when they are stored or shown, and milliseconds since 1970 when they are compared.
 */
import { z } from 'zod';

export const isoTimeSchema = z.iso.datetime();

export const toIso = (ms: number): string => new Date(ms).toISOString();
export const toMs = (iso: string): number => Date.parse(iso);
/** An ISO 8601 instant without its fraction of a second, for display. */
export const toSecond = (iso: string): string => iso.replace(/\.\d+(?=Z$)/, '');
/** Whole seconds from `from` to `to`, never negative. */
export const secondsBetween = (from: string, to: string): number =>
  Math.max(0, Math.round((toMs(to) - toMs(from)) / 1000));

/** The earlier of two instants. */
export const earlier = (a: string, b: string): string => (toMs(a) <= toMs(b) ? a : b);

/** The later of two instants. */
export const later = (a: string, b: string): string => (toMs(a) >= toMs(b) ? a : b);

/** `90061` as `1 d 1 h`: the two largest units, for display. */
export function formatSeconds(seconds: number): string {
  const units: [string, number][] = [
    ['d', 86_400],
    ['h', 3_600],
    ['min', 60],
    ['s', 1],
  ];
  let rest = Math.round(seconds);
  const parts: string[] = [];
  for (const [unit, size] of units) {
    if (rest >= size) {
      parts.push(`${Math.floor(rest / size)} ${unit}`);
      rest %= size;
    } else if (parts.length > 0) break;
    if (parts.length === 2) break;
  }
  return parts.join(' ') || '0 s';
}

/** Like {@link formatSeconds}, for milliseconds. */
export const formatDuration = (ms: number): string => formatSeconds(ms / 1000);
