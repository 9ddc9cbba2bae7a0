/**
 * The end of a replica: deleted, or kept as it is. The fence stays where it was raised to, so that a writer thought dead
 * can't bring anything back, and the next protection gets an epoch above.
 */
import { vaultPaths } from '../domain/vault.js';
import type { RecordStore, ReplicaStore } from '../ports/replica-store.js';
import { deleteAllCycles } from './cycles.js';
import { allDiskNames } from './former-disks.js';
import { inParallel } from '../concurrency/in-parallel.js';
import { clearReplica } from './replica.js';
import { fenceOfEpoch, readDescription, vmFence, writeDescription } from './replica-state.js';
import { deleteSeedRecords } from './seed-record.js';

export interface RemovalTask {
  readonly vm: string;
  /** Of the protection that ends; the fence is raised to the one after it. */
  readonly epoch: number;
}

/**
 * Deletes the replica's disks, recovery points, cycles, and all else the store holds of the VM. Repeated: nothing.
 * @throws CatalogueError StaleEpoch when the VM is protected anew meanwhile.
 */
export async function removeReplica(store: ReplicaStore, { vm, epoch }: RemovalTask): Promise<void> {
  const fence = vmFence(vm, { epoch: epoch + 1, sequence: 0 });
  await store.objects.raiseFence(fence);
  const description = await readDescription(store, vm);
  await clearReplica(store, vm, description ? allDiskNames(description) : [], fence);
  const rest = await store.objects.list(`${vaultPaths.vm(vm)}/`);
  const last = vaultPaths.description(vm);
  await inParallel(
    rest.filter((name) => name !== last),
    8,
    (name) => store.objects.delete(name, fence),
  );
  // Only it knows the disks: an attempt that dies before leaves it to the next.
  await store.objects.delete(last, fence);
}

/**
 * Leaves disks and recovery points as they are, under a description that says so, and deletes what only replication
 * needs. Repeated: nothing new.
 * @param task.unprotectedAt ISO 8601.
 * @param task.inUse a replica VM runs from the disks: the right to write stays with it, so the fence is left alone.
 * @throws CatalogueError StaleEpoch when the VM is protected anew meanwhile.
 */
export async function keepReplica(
  store: RecordStore,
  { vm, epoch, unprotectedAt, inUse }: RemovalTask & { unprotectedAt: string; inUse: boolean },
): Promise<void> {
  const fence = inUse ? await fenceOfEpoch(store, vm, epoch) : vmFence(vm, { epoch: epoch + 1, sequence: 0 });
  if (!inUse) await store.objects.raiseFence(fence);
  const description = await readDescription(store, vm);
  if (description) await writeDescription(store, { ...description, unprotectedAt }, fence);
  await deleteAllCycles(store, vm, fence);
  await deleteSeedRecords(store, vm, fence);
}
