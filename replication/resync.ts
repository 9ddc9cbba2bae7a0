/**
 * Begins a resynchronization at the replica: a new epoch on the existing disks, which are adapted to the source's
 * current disks. Recovery points are kept. From here until the first cycle of the epoch is applied, the live replica is
 * a mixture and not a recovery point: `applied.json` has an older epoch than `description.json`.
 */
import { formatBytes } from '../domain/bytes.js';
import { exceededLimits } from '../domain/disk-limits.js';
import { CatalogueError } from '../domain/errors.js';
import { compareFences, formatFence, LAST_SEQUENCE } from '../domain/fence.js';
import { vaultPaths, type ReplicaDescription } from '../domain/vault.js';
import type { WriteFence } from '../ports/objects.js';
import type { DiskStore, ReplicaStore } from '../ports/replica-store.js';
import { deleteAllCycles } from './cycles.js';
import { allDiskNames, isNamed } from './former-disks.js';
import { readPointRecords } from './point-records.js';
import { replicaSizeOf } from './replica.js';
import { readDescription, vmFence, writeDescription } from './replica-state.js';
import { deleteSeedRecords } from './seed-record.js';

export interface ResyncTask {
  readonly vm: string;
  /** The new epoch. */
  readonly epoch: number;
  /** Disks of the source, sizes in bytes: the set of the new epoch. */
  readonly disks: Sizes;
  /** Other properties of the source for the replica VM; left out: unchanged. */
  readonly settings?: Partial<Pick<ReplicaDescription, 'host' | 'vmmServer' | 'osDisk' | 'hardware'>>;
}

type Sizes = readonly { readonly name: string; readonly size: number }[];

/**
 * Run again under the same epoch, it changes nothing. Everything is done just below the new epoch's first fence, which
 * is raised last: an attempt that was thought dead cannot delete data copied since.
 * @throws CatalogueError StaleEpoch; PrerequisitesNotMet if a disk has become smaller, or is too large;
 * InvalidReplicaState if there is no replica, or the epoch was begun with other disks.
 */
export async function beginResync(store: ReplicaStore, task: ResyncTask): Promise<void> {
  const { vm, epoch, disks } = task;
  const description = await readDescription(store, vm);
  const current = await store.objects.readFence(vaultPaths.vm(vm));
  if (!description) throw new CatalogueError('ReplicaMissing', `${vm}: there is no replica to resynchronize`);
  if (current.epoch > epoch || description.epoch > epoch) {
    throw new CatalogueError('StaleEpoch', `${vm}: asked to begin ${epoch}, the store is at ${formatFence(current)}`);
  }
  const preparing = { epoch: epoch - 1, sequence: LAST_SEQUENCE };
  if (description.epoch === epoch) checkSameDisks(vm, description.disks, disks);
  else {
    const unneeded = await checkFits(store, description, disks);
    if (compareFences(current, preparing) <= 0) {
      const fence = vmFence(vm, preparing);
      await store.objects.raiseFence(fence);
      await deleteSeedRecords(store, vm, fence);
      await deleteAllCycles(store, vm, fence);
      const added = disks.map(({ name }) => name).filter((name) => !allDiskNames(description).includes(name));
      if (added.length > 0) {
        // A later attempt that cleans up after a dead one needs their names.
        const formerDisks = [...(description.formerDisks ?? []), ...added];
        await writeDescription(store, { ...description, formerDisks }, preparing);
      }
      for (const disk of unneeded) await store.disks.delete({ vm, disk }, fence);
      for (const disk of disks) await fitDisk(store, vm, disk, fence);
      await writeDescription(store, describedWith(description, task), preparing);
    }
  }
  await store.objects.raiseFence(vmFence(vm, { epoch, sequence: 0 }));
}

function describedWith(description: ReplicaDescription, { epoch, disks, settings }: ResyncTask): ReplicaDescription {
  const { formerDisks: _, ...rest } = description;
  const names = disks.map(({ name }) => name);
  const former = [...new Set(allDiskNames(description))].filter((name) => !names.includes(name));
  return {
    ...rest,
    ...settings,
    epoch,
    disks: disks.map(({ name, size }) => ({ name, size, replicaSize: replicaSizeOf(size) })),
    ...(former.length > 0 && { formerDisks: former }),
  };
}

/**
 * To be called before anything is changed. @returns disks that an earlier time has left in the store and that no point
 * needs.
 */
async function checkFits(store: ReplicaStore, description: ReplicaDescription, disks: Sizes): Promise<string[]> {
  const { vm } = description;
  const exceeded = exceededLimits(disks);
  if (exceeded.length > 0) throw new CatalogueError('PrerequisitesNotMet', `${vm}: ${exceeded.join('; ')}`);
  const unneeded: string[] = [];
  const tooSmall = (name: string, from: string, size: number) =>
    new CatalogueError(
      'PrerequisitesNotMet',
      `${vm}: disk ${name} has ${size} bytes, ${from}; a replica disk cannot be made smaller. ` +
        `Give the disk its former size, or unprotect ${vm} and protect it again`,
    );
  for (const { name, size } of disks) {
    const before = description.disks.find((disk) => disk.name === name);
    if (before && size < before.size) throw tooSmall(name, `and had ${before.size}`, size);
    const held = await store.disks.size({ vm, disk: name });
    if (before || held === undefined) continue;
    if (!isNamed(await readPointRecords(store, vm), name)) unneeded.push(name);
    else if (held > replicaSizeOf(size)) {
      throw tooSmall(name, `and recovery points hold one of that name with ${formatBytes(held)}`, size);
    }
  }
  return unneeded;
}

/** Content of an existing replica disk that the source does not have is a difference like any other. */
async function fitDisk(store: DiskStore, vm: string, { name, size }: Sizes[number], fence: WriteFence): Promise<void> {
  const replicaDisk = { vm, disk: name };
  const replicaSize = replicaSizeOf(size);
  const held = await store.disks.size(replicaDisk);
  if (held !== undefined && held < replicaSize) await store.disks.resize(replicaDisk, replicaSize, fence);
  else await store.disks.create(replicaDisk, replicaSize, fence);
}

/** @throws CatalogueError InvalidReplicaState */
export function checkSameDisks(vm: string, replica: Sizes, source: Sizes): void {
  const told = (disks: Sizes) =>
    disks
      .map(({ name, size }) => `${name} of ${size} bytes`)
      .toSorted()
      .join(', ');
  if (told(replica) === told(source)) return;
  throw new CatalogueError(
    'InvalidReplicaState',
    `${vm}: the source has ${told(source)}; the epoch was begun with ${told(replica)}`,
  );
}
