/** What a protection entity answers when it is asked about its VM. */
import { conditionsOf, healthOf, rpoSeconds } from '../domain/health.js';
import { allowedOperations } from '../domain/operations.js';
import type { ProtectedItem } from '../domain/protected-item.js';
import type { ProtectedItemView } from './messages.js';

/** @param at ISO 8601. */
export function viewOf(item: ProtectedItem, at: string): ProtectedItemView {
  const rpo = rpoSeconds(item, at);
  return {
    item,
    health: healthOf(item, at),
    conditions: conditionsOf(item, at),
    ...(rpo !== undefined && { rpoSeconds: rpo }),
    operations: allowedOperations(item),
  };
}
