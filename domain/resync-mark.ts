/** The mark of a VM whose replica can't be brought up to date by changes. */
import type { ProtectedItem } from './protected-item.js';

/** A mark of what was before a whole copy that has been begun, or read back and found equal, says nothing any more. */
export function unmarked(item: ProtectedItem): ProtectedItem {
  const { resync: _, ...rest } = item;
  return rest;
}

/** No cycle is made of it until a resynchronization has made both sides equal. */
export function marked(item: ProtectedItem, cause: string, at: string): ProtectedItem {
  const { retry: _, cycleDueAt: _due, ...rest } = item;
  return { ...rest, resync: { cause, since: item.resync?.since ?? at } };
}
