/** The replica VM that a recovery point gives: as it was then, which may be with other disks, or smaller ones, than now. */
import { CatalogueError } from '../domain/errors.js';
import { vaultPaths, type RecoveryPoint, type ReplicaDescription } from '../domain/vault.js';
import type { ReplicaStore, ReplicaVmSpec } from '../sites/ports.js';
import { replicaSizeOf, sizeInBlob } from './replica.js';

/**
 * @param epoch of the failover.
 * @throws CatalogueError InvalidReplicaState as `describedAt`.
 */
export async function replicaVmAt(
  store: ReplicaStore,
  description: ReplicaDescription,
  point: RecoveryPoint,
  epoch: number,
): Promise<ReplicaVmSpec> {
  return {
    description: await describedAt(store, description, point),
    epoch,
    disks: point.disks.map(({ name, snapshot }) => ({
      name,
      snapshot,
      blob: vaultPaths.disk(description.vm, name),
    })),
  };
}

/** @throws CatalogueError InvalidReplicaState when the store does not hold what the point names. */
export async function describedAt(
  store: ReplicaStore,
  description: ReplicaDescription,
  point: RecoveryPoint,
): Promise<ReplicaDescription> {
  const disks: ReplicaDescription['disks'] = [];
  for (const { name, snapshot, size } of point.disks) {
    if (size !== undefined) disks.push({ name, size, replicaSize: replicaSizeOf(size) });
    else {
      // Made before points told sizes: the disk is as it is described now, or else known up to the next MiB.
      const replicaSize = await sizeOfReplica(store, description.vm, name, snapshot);
      const now = description.disks.find((disk) => disk.name === name && disk.replicaSize === replicaSize);
      disks.push(now ?? { name, size: replicaSize, replicaSize });
    }
  }
  const hasOsDisk = disks.some(({ name }) => name === description.osDisk);
  return { ...description, disks, ...(!hasOsDisk && disks[0] && { osDisk: disks[0].name }) };
}

async function sizeOfReplica(store: ReplicaStore, vm: string, disk: string, snapshot: string): Promise<number> {
  const blob = vaultPaths.disk(vm, disk);
  const size = await store.pageBlobSize(blob, snapshot);
  if (size === undefined) throw new CatalogueError('InvalidReplicaState', `there is no ${blob}`);
  return sizeInBlob(size);
}
