/** What keeps a recovery point from being deleted, whatever the policy says. */
import type { RecordStore } from '../ports/replica-store.js';
import { readLeases } from './point-leases.js';
import { readVaultState } from './replica-state.js';
import { readTestHold } from './test-hold.js';

/** `replicaVm`, `testVm`: a VM runs from it. `reader`: it is being read, for example by an export. */
export type PointHolder = 'replicaVm' | 'testVm' | 'reader';

/** By id of the point; a point that nothing holds is missing. @throws CatalogueError StoreUnreachable */
export async function holdersOfPoints(
  store: RecordStore,
  vm: string,
): Promise<ReadonlyMap<string, readonly PointHolder[]>> {
  const held = new Map<string, PointHolder[]>();
  const add = (id: string, holder: PointHolder) => held.set(id, [...(held.get(id) ?? []), holder]);
  const state = await readVaultState(store, vm);
  if (state) add(state.recoveryPoint, 'replicaVm');
  const hold = await readTestHold(store, vm);
  if (hold) add(hold.of.id, 'testVm');
  const leases = await readLeases(store, vm);
  for (const id of new Set(leases.read)) add(id, 'reader');
  return held;
}
