/** The mark of a VM whose replica can't be brought up to date by changes. */
import type { ProtectedItem } from './protected-item.js';

/** Removes the mark, because a complete copy has begun, or the replica was read back and found equal. */
export function unmarked(item: ProtectedItem): ProtectedItem {
  const { resync: _, ...rest } = item;
  return rest;
}

/** No cycle is made until a resynchronization has made both sites equal. */
export function marked(item: ProtectedItem, cause: string, at: string): ProtectedItem {
  const { retry: _, cycleDueAt: _due, ...rest } = item;
  return { ...rest, resync: { cause, since: item.resync?.since ?? at } };
}
