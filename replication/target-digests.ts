/**
 * Digests of a replica's blocks, computed beside the store and read by whoever has the source: only what differs has to
 * cross. One object a slice (see digest.ts), written once.
 *
 * They tell what the replica held when the resynchronization began. What is sent later makes them older, not wrong: a
 * block that is sent twice gets the same bytes twice, as the source is a snapshot.
 */
import { intersect, splitRange, type Range } from '../domain/ranges.js';
import { vaultPaths } from '../domain/vault.js';
import type { ReplicaStore } from '../sites/ports.js';
import { BufferPool } from './buffer-pool.js';
import { SliceDigests, wholeBlocks } from './digest.js';
import { progressMeter, type StepOptions } from './progress.js';
import { readAhead } from './read-ahead.js';
import { describedDisk, descriptionOfEpoch, vmFence } from './replica-state.js';
import { sliceCount, sliceNumbers, sliceRange } from './seed-record.js';

/** Bytes. */
export const READ_SIZE = 4 * 1024 * 1024;
/** Bytes of hole that are read rather than gone around: fewer and larger reads cost less than zeroes. */
const BRIDGE = 1024 * 1024;
const READS_AHEAD = 2;
const SLICES_IN_FLIGHT = 2;

export interface DigestTask {
  readonly vm: string;
  readonly disk: string;
  readonly epoch: number;
}

/**
 * Digests every slice of a replica disk that has not been digested in this epoch. Can die anywhere and be run again.
 * @returns bytes of digests in the store for this disk. @throws CatalogueError StaleEpoch, InvalidReplicaState
 */
export async function digestReplica(
  store: ReplicaStore,
  task: DigestTask,
  options: StepOptions = {},
): Promise<{ digestBytes: number }> {
  const { vm, disk, epoch } = task;
  const { replicaSize } = describedDisk(await descriptionOfEpoch(store, vm, epoch), disk);
  const fence = vmFence(vm, { epoch, sequence: 0 });
  const there = await digestedSlices(store, task);
  const advance = progressMeter(replicaSize, options);
  const slices = Array.from({ length: sliceCount(replicaSize) }, (_, slice) => slice);
  const buffers = new BufferPool(READ_SIZE);
  let digestBytes = 0;
  const digest = async (slice: number): Promise<void> => {
    options.signal?.throwIfAborted();
    const range = sliceRange(slice, replicaSize);
    const name = vaultPaths.targetDigests(vm, epoch, disk, slice);
    let content = there.has(slice) ? await store.getObject(name) : undefined;
    if (!content) {
      content = (await digestReplicaSlice(store, vaultPaths.disk(vm, disk), range, buffers)).encode();
      await store.putObjectIfAbsent(name, content, fence);
    }
    digestBytes += content.length;
    advance(range.length);
  };
  for await (const done of readAhead(slices, SLICES_IN_FLIGHT, digest)) void done;
  return { digestBytes };
}

/** Numbers of the slices that have been digested. */
export const digestedSlices = (store: ReplicaStore, { vm, epoch, disk }: DigestTask): Promise<Set<number>> =>
  sliceNumbers(store, vaultPaths.targetDigestPrefix(vm, epoch, disk));

/** @returns undefined when there are none that can be used: everything is sent then. */
export async function readTargetDigests(
  store: ReplicaStore,
  { vm, epoch, disk }: DigestTask,
  slice: number,
  range: Range,
): Promise<SliceDigests | undefined> {
  const content = await store.getObject(vaultPaths.targetDigests(vm, epoch, disk, slice));
  return content && SliceDigests.decode(range, content);
}

/**
 * What the replica holds now.
 * @param buffers of `READ_SIZE`. @param parts of the slice that are looked at; of the others nothing is told. @default all
 */
export async function digestReplicaSlice(
  store: ReplicaStore,
  blob: string,
  slice: Range,
  buffers: BufferPool,
  parts: readonly Range[] = [slice],
): Promise<SliceDigests> {
  const digests = new SliceDigests(slice);
  for await (const { offset, data } of replicaContent(store, blob, slice, parts, buffers)) digests.add(data, offset);
  return digests;
}

/** What may be more than zeroes, in whole blocks. What was yielded is overwritten once the next is asked for. */
async function* replicaContent(
  store: ReplicaStore,
  blob: string,
  slice: Range,
  parts: readonly Range[],
  buffers: BufferPool,
): AsyncGenerator<{ offset: number; data: Buffer }> {
  if (parts.length === 0) return;
  const occupied = await store.listPageRanges(blob, slice);
  const wanted = occupied.flatMap((range) => parts.map((part) => intersect(range, part)).filter((found) => !!found));
  const pieces = wholeBlocks(wanted, slice, BRIDGE).flatMap((range) => [...splitRange(range, READ_SIZE)]);
  const read = async ({ offset, length }: Range) => {
    const buffer = buffers.take();
    const data = buffer.subarray(0, length);
    await store.readPagesInto(blob, offset, data);
    return { offset, buffer, data };
  };
  for await (const { offset, buffer, data } of readAhead(pieces, READS_AHEAD, read)) {
    yield { offset, data };
    buffers.give(buffer);
  }
}
