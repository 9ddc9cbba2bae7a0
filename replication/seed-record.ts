/**
 * The records of an initial copy. A disk is copied in slices. A slice counts when its record is durable. The record,
 * the digests of its blocks (digest.ts), describes the data read at the source, and the replica is read back against
 * it.
 *
 * The sequence of the fence shows the progress of an epoch's copy: (epoch, 0) while slices are written, (epoch, 1) once
 * every disk has been read back and found equal. Raising it shuts out a copier that was thought dead, before the
 * snapshot that it reads is merged and changes.
 */
import { CatalogueError } from '../domain/errors.js';
import type { Range } from '../domain/ranges.js';
import { vaultPaths } from '../domain/vault.js';
import type { Objects, WriteFence } from '../ports/objects.js';
import type { RecordStore } from '../ports/replica-store.js';
import { inParallel } from '../concurrency/in-parallel.js';
import { fenceOfEpoch, readApplied } from './replica-state.js';
import { SliceRecords } from './slice-records.js';

/** Bytes. A multiple of the digests' block size, and of the 1 MiB to which replicas are rounded up. */
export const SLICE_SIZE = 64 * 1024 * 1024;

export const sliceCount = (replicaSize: number): number => Math.ceil(replicaSize / SLICE_SIZE);

/** The last slice ends with the replica, so that the padding behind the source's end is checked, too. */
export const sliceRange = (slice: number, replicaSize: number): Range => ({
  offset: slice * SLICE_SIZE,
  length: Math.min(SLICE_SIZE, replicaSize - slice * SLICE_SIZE),
});

/** Records of the slices of a disk that have been copied. */
export const seedRecords = (
  objects: Objects,
  { vm, epoch, disk }: { readonly vm: string; readonly epoch: number; readonly disk: string },
): Promise<SliceRecords> => SliceRecords.open(objects, vaultPaths.seedPrefix(vm, epoch, disk));

/**
 * Removes the records of the initial copy or resynchronization, for this epoch and older ones, once a cycle has been
 * applied on top of it.
 * @throws CatalogueError StaleEpoch, InvalidReplicaState while the copy may still be needed.
 */
export async function releaseSeed(store: RecordStore, { vm, epoch }: { vm: string; epoch: number }): Promise<void> {
  const fence = await fenceOfEpoch(store, vm, epoch);
  const applied = await readApplied(store, vm);
  if (applied?.epoch !== epoch) {
    throw new CatalogueError(
      'InvalidReplicaState',
      `${vm}: no cycle of epoch ${epoch} has been applied to the initial copy`,
    );
  }
  await deleteSeedRecords(store, vm, fence);
}

/** Deletes the records of all epochs. */
export async function deleteSeedRecords(store: RecordStore, vm: string, fence: WriteFence): Promise<void> {
  for (const prefix of [vaultPaths.verifiedDisks(vm), vaultPaths.seeds(vm), vaultPaths.allTargetDigests(vm)]) {
    await inParallel(await store.objects.list(prefix), 8, (name) => store.objects.delete(name, fence));
  }
}
