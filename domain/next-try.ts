/** When what has failed is tried again, or begins by itself, told so that it is true whenever it is read. */
import type { ProtectedItem } from './protected-item.js';
import { toMs } from './time.js';

/** @param at ISO 8601. */
export const nextTryText = (nextTryAt: string, at: string): string =>
  toMs(nextTryAt) > toMs(at)
    ? `next try at ${nextTryAt}`
    : `the next try is due since ${nextTryAt}: it is under way, or waits for its worker`;

/** For what is written once, and read at any time. */
export const laterTryText = (nextTryAt: string): string =>
  `Next try at ${nextTryAt}; from then on it is under way, or waits for its worker.`;

/** Of a resynchronization that is not under way. @param at ISO 8601. */
export function resyncText({ paused }: Pick<ProtectedItem, 'paused'>, dueAt: string, at: string): string {
  if (paused) return 'to be resynchronized after its pause';
  return toMs(dueAt) > toMs(at) ? `to be resynchronized at ${dueAt}` : `its resynchronization is due since ${dueAt}`;
}
