/** A VM as it is shown: its state, and the conditions that follow from it at that instant. */
import { conditionsOf, healthOf, rpoSeconds, type Condition, type Health } from './health.js';
import type { HostSilence } from './host-silence.js';
import { offeredOperations, type Operation } from './operations.js';
import type { Permission } from './permission.js';
import type { ProtectedItem } from './protected-item.js';

export interface ProtectedItemView {
  readonly item: ProtectedItem;
  readonly health: Health;
  readonly conditions: Condition[];
  readonly rpoSeconds?: number;
  readonly operations: Record<Operation, Permission>;
}

/** @param at ISO 8601. @param known its host's silence, as all VMs of the host know it. */
export function viewOf(item: ProtectedItem, at: string, known?: HostSilence): ProtectedItemView {
  const rpo = rpoSeconds(item, at);
  return {
    item,
    health: healthOf(item, at, known),
    conditions: conditionsOf(item, at, known),
    ...(rpo !== undefined && { rpoSeconds: rpo }),
    operations: offeredOperations(item),
  };
}
