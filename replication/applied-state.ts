/**
 * The cycle that the replica's disks hold, even if its record is lost: it is then derived from other data. If the fence
 * is at cycle n, the disks hold n, or are between n - 1 and n; applying n once more gives the same bytes.
 */
import { CatalogueError } from '../domain/errors.js';
import { SEEDED_SEQUENCE } from '../domain/fence.js';
import { recoveryPointId, vaultPaths, type AppliedState, type ReplicaDescription } from '../domain/vault.js';
import type { RecordStore } from '../ports/replica-store.js';
import { readPoint, readUnlessAway } from './point-records.js';
import { readApplied } from './replica-state.js';
import { readManifest } from './ship.js';

/**
 * The newest cycle that every replica disk certainly holds, in any epoch.
 * @throws CatalogueError InvalidReplicaState if its record is lost and cannot be derived.
 */
export async function readAppliedOf(
  store: RecordStore,
  { vm, epoch }: ReplicaDescription,
): Promise<AppliedState | undefined> {
  let applied: AppliedState | undefined;
  let damage: CatalogueError | undefined;
  try {
    applied = await readUnlessAway(store, vm, () => readApplied(store, vm));
  } catch (error) {
    if (!(error instanceof CatalogueError) || error.code !== 'InvalidReplicaState') throw error;
    damage = error;
  }
  const fence = await store.objects.readFence(vaultPaths.vm(vm));
  const isBegun = fence.epoch === epoch && fence.sequence > SEEDED_SEQUENCE;
  if (!damage && (applied?.epoch === epoch || !isBegun)) return applied;
  const problem = damage?.detail ?? `${vaultPaths.applied(vm)} is missing`;
  const lost = new CatalogueError('InvalidReplicaState', problem, { cause: damage });
  if (!isBegun) throw lost;
  // A point is only made of a cycle that all disks hold.
  const point = await readPoint(store, vm, recoveryPointId(epoch, fence.sequence));
  const sequence = point && !('problem' in point) ? fence.sequence : fence.sequence - 1;
  const manifest = await readUnlessAway(store, vm, () => readManifest(store, vm, { epoch, sequence })).catch(
    () => lost,
  );
  if (!manifest || manifest instanceof CatalogueError) throw lost;
  const { sealedAt, final } = manifest;
  return {
    epoch,
    sequence,
    sealedAt,
    final,
    disks: manifest.disks.map(({ name, lastWrite }) => ({ name, lastWrite })),
  };
}
