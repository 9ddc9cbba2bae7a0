/** Reads a copy back near the store, and compares it with the digests of the data read at the source. */
import { CatalogueError } from '../domain/errors.js';
import { SEEDED_SEQUENCE } from '../domain/fence.js';
import { end, mergeRanges, type Range } from '../domain/ranges.js';
import { vaultPaths, verifiedDiskSchema, type ReplicaDescription } from '../domain/vault.js';
import type { ReadableReplicaDisk } from '../ports/replica-disks.js';
import type { RecordStore, ReplicaStore } from '../ports/replica-store.js';
import { BufferPool } from '../disks/buffer-pool.js';
import { progressMeter, type StepOptions } from './progress.js';
import { readAhead } from '../concurrency/in-parallel.js';
import { describedDisk, descriptionOfEpoch, fenceOfEpoch, vmFence } from './replica-state.js';
import { seedRecords, sliceCount, sliceRange } from './seed-record.js';
import type { SliceRecords } from './slice-records.js';
import { digestReplicaSlice, READ_SIZE, readDigests, targetRecords } from './target-digests.js';
import { encodeRecord, readRecord } from './vault-record.js';
import { withDisk } from './with-disk.js';

const SLICES_IN_FLIGHT = 2;

export interface VerifyTask {
  readonly vm: string;
  readonly disk: string;
  readonly epoch: number;
}

export interface VerifyResult {
  /** True if all disks of the VM have been verified: from now on, cycles can be applied. */
  readonly seedComplete: boolean;
}

/**
 * To be called for every disk once it is copied, while the source's snapshot still exists. With the last disk, the
 * fence is raised to (epoch, 1): copiers are shut out, and the first cycle can be applied.
 * @throws CatalogueError ReplicaDiffers, which names disk and ranges: their records are removed, and the next copy
 * sends them again; InvalidReplicaState if slices are missing; StaleEpoch.
 */
export async function verifySeed(
  store: ReplicaStore,
  task: VerifyTask,
  options: StepOptions = {},
): Promise<VerifyResult> {
  const { vm, disk, epoch } = task;
  const fence = await fenceOfEpoch(store, vm, epoch);
  const description = await descriptionOfEpoch(store, vm, epoch);
  const { replicaSize } = describedDisk(description, disk);
  if (fence.sequence >= SEEDED_SEQUENCE) return { seedComplete: true };
  const count = sliceCount(replicaSize);
  const copied = await seedRecords(store.objects, task);
  const targets = await targetRecords(store.objects, task);
  const missing = Array.from({ length: count }, (_, slice) => slice).filter((slice) => !copied.has(slice));
  if (missing.length > 0) {
    const where = describeRanges(missing.map((slice) => sliceRange(slice, replicaSize)));
    throw new CatalogueError(
      'InvalidReplicaState',
      `${vm}/${disk}: the initial copy is not complete: ${where} missing`,
    );
  }
  const verifiedName = vaultPaths.verifiedDisk(vm, epoch, disk);
  const differing = await withDisk(store.disks.openReadOnly(task), (replica) =>
    differingBlocks(replica, { copied, targets, replicaSize }, options),
  );
  if (differing.size > 0) {
    await store.objects.delete(verifiedName, fence);
    // Remove the digests first: without them, the next copy sends the whole slice.
    await targets.remove(differing.keys(), fence);
    await copied.remove(differing.keys(), fence);
    throw new CatalogueError('ReplicaDiffers', `${vm}/${disk}: ${describeRanges([...differing.values()].flat())}`);
  }
  const problem = await store.disks.mend(task, fence);
  if (problem !== undefined)
    throw new CatalogueError('ReplicaDiffers', `${vm}/${disk}: ${problem}; it was written again`);
  await store.objects.put(verifiedName, encodeRecord(verifiedDiskSchema, { epoch, disk, replicaSize }), fence);
  return { seedComplete: await completeSeed(store, description) };
}

/** @returns differing blocks by slice; the whole slice if its record is damaged. */
async function differingBlocks(
  replica: ReadableReplicaDisk,
  { copied, targets, replicaSize }: { copied: SliceRecords; targets: SliceRecords; replicaSize: number },
  options: StepOptions,
): Promise<Map<number, readonly Range[]>> {
  const differing = new Map<number, readonly Range[]>();
  const advance = progressMeter(replicaSize, options);
  const buffers = new BufferPool(READ_SIZE);
  const check = async (slice: number): Promise<void> => {
    options.signal?.throwIfAborted();
    const range = sliceRange(slice, replicaSize);
    const source = await readDigests(copied, slice, range);
    const target = await readDigests(targets, slice, range);
    // Blocks that were equal before anything was sent have not been written since: other writers are fenced out.
    const written = source && target ? source.differing(target) : [range];
    const held = await digestReplicaSlice(replica, range, buffers, written);
    const wrong = source ? written.flatMap((part) => held.differing(source, part)) : [range];
    if (wrong.length > 0) differing.set(slice, wrong);
    advance(range.length);
  };
  const slices = Array.from({ length: sliceCount(replicaSize) }, (_, slice) => slice);
  for await (const checked of readAhead(slices, SLICES_IN_FLIGHT, check)) void checked;
  return differing;
}

/** Raises the fence if every disk has been verified. */
async function completeSeed(store: RecordStore, { vm, epoch, disks }: ReplicaDescription): Promise<boolean> {
  for (const { name, replicaSize } of disks) {
    const verified = await readRecord(store.objects, vaultPaths.verifiedDisk(vm, epoch, name), verifiedDiskSchema);
    if (verified?.replicaSize !== replicaSize) return false;
  }
  await store.objects.raiseFence(vmFence(vm, { epoch, sequence: SEEDED_SEQUENCE }));
  return true;
}

/** Names only the first ranges, for people. */
function describeRanges(ranges: readonly Range[]): string {
  const joined = mergeRanges(ranges);
  const shown = joined.slice(0, 4).map((range) => `bytes ${range.offset} to ${end(range) - 1}`);
  return shown.join(', ') + (joined.length > shown.length ? ` and ${joined.length - shown.length} more ranges` : '');
}
