/** What is told of a VM to whoever asks: its state, and what follows from it at that instant. */
import { conditionsOf, healthOf, rpoSeconds, type Condition, type Health } from './health.js';
import { allowedOperations, type Operation, type Permission } from './operations.js';
import type { ProtectedItem } from './protected-item.js';

export interface ProtectedItemView {
  readonly item: ProtectedItem;
  readonly health: Health;
  readonly conditions: Condition[];
  readonly rpoSeconds?: number;
  readonly operations: Record<Operation, Permission>;
}

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
