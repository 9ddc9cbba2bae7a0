/** The replica VM that a recovery point describes: it may have other or smaller disks than the VM has now. */
import { CatalogueError } from '../domain/errors.js';
import { vaultPaths, type RecoveryPoint, type ReplicaDescription } from '../domain/vault.js';
import type { ReplicaVmSpec } from '../ports/recovery-compute.js';
import type { DiskStore } from '../ports/replica-store.js';
import { replicaSizeOf } from './replica.js';

/** The part of a point that says which disks the VM has in it. */
type PointDisks = Pick<RecoveryPoint, 'id' | 'epoch' | 'disks'>;

/**
 * @param epoch of the failover.
 * @throws CatalogueError InvalidReplicaState as `describedAt`.
 */
export async function replicaVmAt(
  store: DiskStore,
  description: ReplicaDescription,
  point: PointDisks,
  epoch: number,
): Promise<ReplicaVmSpec> {
  return {
    description: await describedAt(store, description, point),
    epoch,
    disks: point.disks.map(({ name, snapshot }) => ({
      name,
      snapshot,
      replica: { vm: description.vm, disk: name },
    })),
  };
}

/**
 * Checks every disk of the point: everything described here can be read.
 * @throws CatalogueError InvalidReplicaState if the store lacks something that the point names, or the point does not
 * match the VM as it was then.
 */
export async function describedAt(
  store: DiskStore,
  description: ReplicaDescription,
  point: PointDisks,
): Promise<ReplicaDescription> {
  const { vm } = description;
  const lacking = description.disks.filter(({ name }) => !point.disks.some((disk) => disk.name === name));
  if (point.epoch === description.epoch && lacking.length > 0) {
    const names = lacking.map(({ name }) => name).join(', ');
    throw new CatalogueError('InvalidReplicaState', `${vaultPaths.point(vm, point.id)} lacks the disk ${names}`);
  }
  const disks: ReplicaDescription['disks'] = [];
  for (const { name, snapshot, size } of point.disks) {
    const replicaSize = await sizeOfReplica(store, vm, name, snapshot);
    if (size !== undefined) {
      if (replicaSizeOf(size) !== replicaSize) {
        const problem = `${vaultPaths.point(vm, point.id)} records ${size} bytes of ${name}, but its snapshot has ${replicaSize}`;
        throw new CatalogueError('InvalidReplicaState', problem);
      }
      disks.push({ name, size, replicaSize });
    } else {
      // The point is from before sizes were stored: the disk has its current size, if that rounds to the replica's, or
      // otherwise a size known up to the next MiB.
      const now = description.disks.find((disk) => disk.name === name && disk.replicaSize === replicaSize);
      disks.push(now ?? { name, size: replicaSize, replicaSize });
    }
  }
  const hasOsDisk = disks.some(({ name }) => name === description.osDisk);
  return { ...description, disks, ...(!hasOsDisk && disks[0] && { osDisk: disks[0].name }) };
}

/** Do the disks of the live replica exist with the right sizes? @throws CatalogueError InvalidReplicaState */
export async function checkReplicaDisks(store: DiskStore, { vm, disks }: ReplicaDescription): Promise<void> {
  for (const { name, replicaSize } of disks) {
    const size = await store.disks.size({ vm, disk: name });
    if (size === replicaSize) continue;
    throw new CatalogueError('InvalidReplicaState', `${vm}/${name}: the replica has ${size ?? 'no'} bytes`);
  }
}

async function sizeOfReplica(store: DiskStore, vm: string, disk: string, snapshot: string): Promise<number> {
  const size = await store.disks.size({ vm, disk }, snapshot);
  if (size === undefined) throw new CatalogueError('InvalidReplicaState', `there is no replica of ${vm}/${disk}`);
  return size;
}
