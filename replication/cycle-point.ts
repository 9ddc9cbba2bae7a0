/** The recovery point of an applied cycle. The cycle's manifest determines its kind and names. */
import type { Fence } from '../domain/fence.js';
import type { CycleManifest, RecoveryPoint } from '../domain/vault.js';
import type { ReplicaStore } from '../ports/replica-store.js';
import { readManifestIfWhole } from './received-cycles.js';
import { createRecoveryPoint } from './recovery-points.js';

/** If the cycle's manifest was lost, the point gets no name. @throws CatalogueError as `createRecoveryPoint` does. */
export async function createPointOfCycle(store: ReplicaStore, vm: string, cycle: Fence): Promise<RecoveryPoint> {
  return create(store, vm, cycle, await readManifestIfWhole(store, vm, cycle));
}

/**
 * A cycle without changes needs no point, unless it is the first after a copy, or its instant was requested.
 * @returns undefined if no point is needed. @throws CatalogueError as `createRecoveryPoint` does.
 */
export async function createPointIfWorth(
  store: ReplicaStore,
  vm: string,
  cycle: Fence,
): Promise<RecoveryPoint | undefined> {
  const manifest = await readManifestIfWhole(store, vm, cycle);
  if (!manifest) return create(store, vm, cycle, undefined);
  const hasChanges = manifest.disks.some(({ length }) => length > 0);
  const isWanted = manifest.tags !== undefined || manifest.appConsistent;
  return cycle.sequence === 1 || hasChanges || isWanted ? create(store, vm, cycle, manifest) : undefined;
}

function create(
  store: ReplicaStore,
  vm: string,
  { epoch, sequence }: Fence,
  manifest: CycleManifest | undefined,
): Promise<RecoveryPoint> {
  const kind = manifest?.appConsistent ? 'appConsistent' : 'crashConsistent';
  return createRecoveryPoint(store, { vm, epoch, sequence, kind, tags: manifest?.tags });
}
