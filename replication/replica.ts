/**
 * Prepares a replica: its disks, all zeroes, and the description from which the VM can be created. A replica disk holds
 * the source's disk, followed by zeroes up to the next MiB.
 */
import { exceededLimits } from '../domain/disk-limits.js';
import { CatalogueError } from '../domain/errors.js';
import { compareFences, formatFence, type Fence, LAST_SEQUENCE } from '../domain/fence.js';
import { alignUp } from '../domain/ranges.js';
import { vaultPaths, type ReplicaDescription } from '../domain/vault.js';
import type { WriteFence } from '../ports/objects.js';
import type { DiskStore, ReplicaStore } from '../ports/replica-store.js';
import { deleteAllCycles } from './cycles.js';
import { allDiskNames } from './former-disks.js';
import { inParallel } from '../concurrency/in-parallel.js';
import { deleteKept } from './kept-record.js';
import { removeRecoveryPoints } from './recovery-points.js';
import { readDescription, vmFence, writeDescription } from './replica-state.js';
import { deleteSeedRecords } from './seed-record.js';

/** Bytes. Azure requires that the size of a virtual disk is a multiple of this. */
const REPLICA_ALIGNMENT = 1024 * 1024;

/** Virtual size of the replica of a disk with `size` bytes. */
export const replicaSizeOf = (size: number): number => alignUp(size, REPLICA_ALIGNMENT);

/**
 * Begins a replica from nothing, under a new epoch, and deletes everything that older epochs have left, including
 * recovery points. Run again under the same epoch, it does not touch data that has been copied since.
 *
 * Everything is done just below the new epoch's first fence, which is raised last: from then on, an attempt that was
 * thought dead can delete nothing.
 * @param fence (epoch, 0), the description's epoch.
 * @throws CatalogueError StaleEpoch, InvalidReplicaState; PrerequisitesNotMet if a disk is too large, or there are too
 * many.
 */
export async function prepareReplica(
  store: ReplicaStore,
  description: ReplicaDescription,
  fence: Fence,
): Promise<void> {
  const { vm, epoch } = description;
  checkDescription(description, fence);
  const current = await store.objects.readFence(vaultPaths.vm(vm));
  if (current.epoch > epoch) {
    throw new CatalogueError(
      'StaleEpoch',
      `${vm}: asked to begin epoch ${epoch}, the store is at ${formatFence(current)}`,
    );
  }
  const present = await readDescription(store, vm);
  if (present && present.epoch > epoch) {
    throw new CatalogueError('StaleEpoch', `${vm}: the replica is of epoch ${present.epoch}, asked to begin ${epoch}`);
  }
  if (present?.epoch === epoch) await checkSameReplica(store, present, description);
  else {
    const preparing = vmFence(vm, { epoch: epoch - 1, sequence: LAST_SEQUENCE });
    const writing = compareFences(current, preparing) > 0 ? vmFence(vm, fence) : preparing;
    await store.objects.raiseFence(writing);
    await clearReplica(store, vm, [...(present ? [present] : []), description].flatMap(allDiskNames), writing);
    for (const { name: disk, replicaSize } of description.disks) {
      await store.disks.create({ vm, disk }, replicaSize, writing);
    }
    await writeDescription(store, description, writing);
  }
  await store.objects.raiseFence(vmFence(vm, fence));
}

function checkDescription(description: ReplicaDescription, fence: Fence): void {
  const wrong = (problem: string) => new CatalogueError('InvalidReplicaState', `${description.vm}: ${problem}`);
  if (fence.epoch !== description.epoch || fence.sequence !== 0) {
    throw wrong(`a replica of epoch ${description.epoch} cannot be begun at ${formatFence(fence)}`);
  }
  if (new Set(description.disks.map(({ name }) => name)).size !== description.disks.length) {
    throw wrong('two disks have the same name');
  }
  const exceeded = exceededLimits(description.disks);
  if (exceeded.length > 0) throw new CatalogueError('PrerequisitesNotMet', `${description.vm}: ${exceeded.join('; ')}`);
  for (const { name, size, replicaSize } of description.disks) {
    if (size <= 0 || size % 512 !== 0) throw wrong(`disk ${name} has an impossible size of ${size} bytes`);
    if (replicaSize !== replicaSizeOf(size)) {
      throw wrong(`disk ${name} of ${size} bytes takes a replica of ${replicaSizeOf(size)}, not ${replicaSize}`);
    }
  }
}

async function checkSameReplica(
  store: DiskStore,
  present: ReplicaDescription,
  wanted: ReplicaDescription,
): Promise<void> {
  const disks = (description: ReplicaDescription) =>
    JSON.stringify(description.disks.map(({ name, size }) => `${name} ${size}`).sort((a, b) => a.localeCompare(b)));
  if (disks(present) !== disks(wanted)) {
    throw new CatalogueError(
      'InvalidReplicaState',
      `${wanted.vm}: epoch ${wanted.epoch} was begun with the disks ${disks(present)}, now asked for ${disks(wanted)}`,
    );
  }
  for (const { name, replicaSize } of present.disks) {
    const size = await store.disks.size({ vm: wanted.vm, disk: name });
    if (size !== replicaSize) {
      const found = size === undefined ? 'is missing' : `has ${size} bytes`;
      throw new CatalogueError(
        'InvalidReplicaState',
        `the replica of ${wanted.vm}/${name} ${found}, expected ${replicaSize} bytes`,
      );
    }
  }
}

/** For a holder of the fence. Deletes manifests and records before the data they name. Repeatable. */
export async function clearReplica(
  store: ReplicaStore,
  vm: string,
  disks: readonly string[],
  fence: WriteFence,
): Promise<void> {
  const names = [...new Set(disks)];
  await removeRecoveryPoints(store, vm, names, [], fence);
  await deleteKept(store.objects, vaultPaths.applied(vm), fence);
  await deleteAllCycles(store, vm, fence);
  await deleteSeedRecords(store, vm, fence);
  await inParallel(names, 4, (disk) => store.disks.delete({ vm, disk }, fence));
}
