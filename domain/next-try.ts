/** Texts about when a failed step is retried, or a resynchronization starts. They stay true whenever they are read. */
import type { ProtectedItem } from './protected-item.js';
import { formatSeconds, secondsBetween, toMs, toSecond } from './time.js';

/** @param at ISO 8601. */
export const nextTryText = (nextTryAt: string, at: string): string =>
  toMs(nextTryAt) > toMs(at)
    ? `next try ${inTime(nextTryAt, at)}`
    : `the next try was due at ${toSecond(nextTryAt)}: it is running or waiting for its worker`;

/** For text that is written once and may be read at any later time. */
export const laterTryText = (nextTryAt: string): string =>
  `Next try at ${toSecond(nextTryAt)}. After that time, the step is running or waiting for its worker.`;

/** For a resynchronization that is waiting. @param at ISO 8601. */
export function resyncText({ paused }: Pick<ProtectedItem, 'paused'>, dueAt: string, at: string): string {
  if (paused) return 'resynchronization starts after `resume`';
  return toMs(dueAt) > toMs(at)
    ? `resynchronization starts ${inTime(dueAt, at)}`
    : `resynchronization was due at ${toSecond(dueAt)}`;
}

/** Includes the instant itself, because the text may be read later. */
const inTime = (then: string, at: string): string =>
  `in ${formatSeconds(secondsBetween(at, then))} (at ${toSecond(then)})`;
