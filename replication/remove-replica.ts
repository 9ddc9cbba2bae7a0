/**
 * The end of a replica: deleted, or kept as it is. The fence stays raised, so that a writer that was thought dead
 * cannot bring anything back, and the next protection gets a higher epoch.
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
  /** Epoch of the protection that ends; the fence is raised to the next one. */
  readonly epoch: number;
}

/**
 * Deletes the replica's disks, recovery points, cycles, and all other data of the VM in the store. Repeatable.
 * @throws CatalogueError StaleEpoch if the VM has been protected again meanwhile.
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
  // Deleted last, because only it names the disks: after an interruption, the next attempt needs it.
  await store.objects.delete(last, fence);
}

/**
 * Keeps disks and recovery points under a description that says so, and deletes everything that only replication needs.
 * Repeatable.
 * @param task.unprotectedAt ISO 8601.
 * @param task.inUse a replica VM runs from the disks and keeps the right to write, so the fence is not raised.
 * @throws CatalogueError StaleEpoch if the VM has been protected again meanwhile.
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
