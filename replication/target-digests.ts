/**
 * Digests of a replica's blocks, computed near the store and read near the source, so that only differences have to be
 * sent. One object for each slice (see digest.ts), written once.
 *
 * They describe the replica as it was when the resynchronization began. Data sent later makes them outdated, not wrong:
 * a block that is sent twice gets the same bytes twice, because the source is a snapshot.
 */
import { end, intersect, type Range } from '../domain/ranges.js';
import { vaultPaths } from '../domain/vault.js';
import type { Objects } from '../ports/objects.js';
import type { ReadableReplicaDisk } from '../ports/replica-disks.js';
import type { ReplicaStore } from '../ports/replica-store.js';
import { BufferPool } from '../disks/buffer-pool.js';
import { SliceDigests, wholeBlocks } from './digest.js';
import { packs } from './packs.js';
import type { StepOptions } from './progress.js';
import { inParallel, readAhead } from '../concurrency/in-parallel.js';
import { describedDisk, descriptionOfEpoch, vmFence } from './replica-state.js';
import { SLICE_SIZE, sliceCount, sliceRange } from './seed-record.js';
import { SliceRecords } from './slice-records.js';
import { withDisk } from './with-disk.js';

/** Bytes. */
export const READ_SIZE = 4 * 1024 * 1024;
const READS_AHEAD = 2;
/** Reads in parallel, if little has to be read in each of many places to fill a buffer. */
const READS_OF_A_BUFFER = 8;
const SLICES_IN_FLIGHT = 2;

export interface DigestTask {
  readonly vm: string;
  readonly disk: string;
  readonly epoch: number;
}

export interface Digested {
  /** Bytes in the store for the slices processed. */
  readonly digestBytes: number;
  /** The disk is digested from the starting offset up to here, bytes. */
  readonly nextOffset: number;
  readonly done: boolean;
}

export interface DigestOptions extends StepOptions {
  /** Called before each slice but the first; if it returns true, no further slice is begun. @default never */
  readonly enough?: () => boolean;
}

/**
 * Digests the slices of a replica disk that have not been digested in this epoch. May die at any point and be run
 * again.
 * @param task.fromOffset where an earlier call ended. @default 0
 * @throws CatalogueError StaleEpoch, InvalidReplicaState
 */
export async function digestReplica(
  store: ReplicaStore,
  task: DigestTask & { readonly fromOffset?: number },
  { enough = () => false, ...options }: DigestOptions = {},
): Promise<Digested> {
  const { vm, disk, epoch, fromOffset = 0 } = task;
  const { replicaSize } = describedDisk(await descriptionOfEpoch(store, vm, epoch), disk);
  const fence = vmFence(vm, { epoch, sequence: 0 });
  const there = await targetRecords(store.objects, task);
  const buffers = new BufferPool(READ_SIZE);
  const first = Math.floor(fromOffset / SLICE_SIZE);
  let digestBytes = 0;
  let nextOffset = Math.min(first * SLICE_SIZE, replicaSize);

  function* toDigest(): Generator<number> {
    const count = sliceCount(replicaSize);
    for (let slice = first; slice < count && (slice === first || !enough()); slice += 1) yield slice;
  }
  const digest = async (replica: ReadableReplicaDisk, slice: number): Promise<Range> => {
    options.signal?.throwIfAborted();
    const range = sliceRange(slice, replicaSize);
    let content = there.has(slice) ? await there.get(slice) : undefined;
    if (!content) {
      content = (await digestReplicaSlice(replica, range, buffers)).encode();
      await there.putIfAbsent(slice, content, fence);
    }
    digestBytes += content.length;
    return range;
  };
  await withDisk(store.disks.openReadOnly(task), async (replica) => {
    // In order, so that the reported progress has no gaps.
    for await (const range of readAhead(toDigest(), SLICES_IN_FLIGHT, (slice) => digest(replica, slice))) {
      nextOffset = end(range);
      options.onProgress?.({ bytesDone: nextOffset, bytesTotal: replicaSize });
    }
  });
  return { digestBytes, nextOffset, done: nextOffset >= replicaSize };
}

/** Records of the slices that have been digested. */
export const targetRecords = (objects: Objects, { vm, epoch, disk }: DigestTask): Promise<SliceRecords> =>
  SliceRecords.open(objects, vaultPaths.targetDigestPrefix(vm, epoch, disk));

/** @returns undefined if there are no usable digests; everything is sent then. */
export async function readDigests(
  records: SliceRecords,
  slice: number,
  range: Range,
): Promise<SliceDigests | undefined> {
  const content = records.has(slice) ? await records.get(slice) : undefined;
  return content && SliceDigests.decode(range, content);
}

/**
 * Digests of the replica's current content.
 * @param buffers of `READ_SIZE`. @param parts the parts of the slice to digest; the others are left out. @default all
 */
export async function digestReplicaSlice(
  replica: ReadableReplicaDisk,
  slice: Range,
  buffers: BufferPool,
  parts: readonly Range[] = [slice],
): Promise<SliceDigests> {
  const digests = new SliceDigests(slice);
  for await (const { offset, data } of replicaContent(replica, slice, parts, buffers)) digests.add(data, offset);
  return digests;
}

/** Blocks that may contain more than zeroes. Yielded data is overwritten when the next is requested. */
async function* replicaContent(
  replica: ReadableReplicaDisk,
  slice: Range,
  parts: readonly Range[],
  buffers: BufferPool,
): AsyncGenerator<{ offset: number; data: Buffer }> {
  if (parts.length === 0) return;
  const occupied = await replica.dataRanges(slice, { isProof: true });
  const wanted = occupied.flatMap((range) => parts.map((part) => intersect(range, part)).filter((found) => !!found));
  const blocks = wholeBlocks(wanted, slice);
  const read = async (pieces: readonly Range[]) => {
    const buffer = buffers.take();
    let filled = 0;
    const content = pieces.map(({ offset, length }) => {
      const data = buffer.subarray(filled, filled + length);
      filled += length;
      return { offset, data };
    });
    await inParallel(content, READS_OF_A_BUFFER, ({ offset, data }) => replica.readUncached(data, offset));
    return { buffer, content };
  };
  for await (const { buffer, content } of readAhead(packs(blocks, READ_SIZE), READS_AHEAD, read)) {
    yield* content;
    buffers.give(buffer);
  }
}
