/**
 * Digests of a replica's blocks, computed beside the store and read by whoever has the source: only what differs has to
 * cross. One object a slice, written once: blake3 of the slice (see digest.ts), then 32 bytes for each 64 KiB block, its
 * blake3, or zeroes for a block of zeroes.
 *
 * They tell what the replica held when the resynchronization began. What is sent later makes them older, not wrong: a
 * block that is sent twice gets the same bytes twice, as the source is a snapshot.
 */
import { blake3 } from '@napi-rs/blake-hash';
import { end, splitRange, type Range } from '../domain/ranges.js';
import { vaultPaths } from '../domain/vault.js';
import type { ReplicaStore } from '../sites/ports.js';
import { BufferPool } from './buffer-pool.js';
import { BLOCK_SIZE, isZero, SliceDigest, wholeBlocks } from './digest.js';
import { progressMeter, type StepOptions } from './progress.js';
import { readAhead } from './read-ahead.js';
import { describedDisk, descriptionOfEpoch, vmFence } from './replica-state.js';
import { sliceCount, sliceNumbers, sliceRange } from './seed-record.js';

const DIGEST_BYTES = 32;
const ZERO_DIGEST = Buffer.alloc(DIGEST_BYTES);
/** Bytes. */
export const READ_SIZE = 4 * 1024 * 1024;
/** Bytes of hole that are read rather than gone around: fewer and larger reads cost less than zeroes. */
const BRIDGE = 1024 * 1024;
const READS_AHEAD = 2;
const SLICES_IN_FLIGHT = 2;

/** What a replica held in one slice. */
export class TargetDigests {
  constructor(
    private readonly slice: Range,
    private readonly content: Buffer,
  ) {}

  /** Of the whole slice, hex. */
  get digest(): string {
    return this.content.toString('hex', 0, DIGEST_BYTES);
  }

  /** @param offset of the block on the disk, bytes. @param block not all zeroes. */
  holds(block: Buffer, offset: number): boolean {
    const at = DIGEST_BYTES + ((offset - this.slice.offset) / BLOCK_SIZE) * DIGEST_BYTES;
    return this.content.subarray(at, at + DIGEST_BYTES).equals(blake3(block));
  }

  /** @param block undefined for zeroes. @param offset of the block on the disk, bytes. */
  equals(block: Buffer | undefined, offset: number): boolean {
    if (block && !isZero(block)) return this.holds(block, offset);
    const at = DIGEST_BYTES + ((offset - this.slice.offset) / BLOCK_SIZE) * DIGEST_BYTES;
    return this.content.subarray(at, at + DIGEST_BYTES).equals(ZERO_DIGEST);
  }
}

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
    if (!there.has(slice)) {
      const content = await digestSlice(store, vaultPaths.disk(vm, disk), range, buffers);
      await store.putObjectIfAbsent(vaultPaths.targetDigests(vm, epoch, disk, slice), content, fence);
    }
    digestBytes += contentLength(range);
    advance(range.length);
  };
  for await (const done of readAhead(slices, SLICES_IN_FLIGHT, digest)) void done;
  return { digestBytes };
}

/** Numbers of the slices that have been digested. */
export const digestedSlices = (store: ReplicaStore, { vm, epoch, disk }: DigestTask): Promise<Set<number>> =>
  sliceNumbers(store, vaultPaths.targetDigestPrefix(vm, epoch, disk), 'digests');

/** @returns undefined when there are none that can be used: everything is sent then. */
export async function readTargetDigests(
  store: ReplicaStore,
  { vm, epoch, disk }: DigestTask,
  slice: number,
  range: Range,
): Promise<TargetDigests | undefined> {
  const content = await store.getObject(vaultPaths.targetDigests(vm, epoch, disk, slice));
  return content?.length === contentLength(range) ? new TargetDigests(range, content) : undefined;
}

const contentLength = (slice: Range): number => DIGEST_BYTES * (1 + Math.ceil(slice.length / BLOCK_SIZE));

/** The object of one slice, see above. */
export async function digestSlice(
  store: ReplicaStore,
  blob: string,
  slice: Range,
  buffers: BufferPool,
): Promise<Buffer> {
  const content = Buffer.alloc(contentLength(slice));
  const digest = new SliceDigest(slice);
  for await (const { offset, data } of replicaContent(store, blob, slice, buffers)) {
    for (const run of digest.add(data, offset)) {
      for (const { offset: at, length } of splitRange(run, BLOCK_SIZE)) {
        const block = data.subarray(at - offset, at - offset + length);
        blake3(block).copy(content, DIGEST_BYTES * (1 + (at - slice.offset) / BLOCK_SIZE));
      }
    }
  }
  content.write(digest.finish(), 0, 'hex');
  return content;
}

/**
 * What of a slice of a replica may be more than zeroes, in whole blocks and rising order. What was yielded is
 * overwritten once the next is asked for.
 * @param buffers of `READ_SIZE`
 */
export async function* replicaContent(
  store: ReplicaStore,
  blob: string,
  slice: Range,
  buffers: BufferPool,
): AsyncGenerator<{ offset: number; data: Buffer }> {
  const occupied = await store.listPageRanges(blob, slice);
  const pieces = wholeBlocks(occupied, slice, BRIDGE).flatMap((range) => [...splitRange(range, READ_SIZE)]);
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

/** The blocks of a run that the replica does not hold, joined. @param data of the run, not a block of it all zeroes. */
export function differingBlocks(target: TargetDigests, run: Range, data: Buffer): Range[] {
  const differing: Range[] = [];
  for (const block of splitRange(run, BLOCK_SIZE)) {
    const from = block.offset - run.offset;
    if (target.holds(data.subarray(from, from + block.length), block.offset)) continue;
    const last = differing.at(-1);
    if (last && end(last) === block.offset) {
      differing[differing.length - 1] = { offset: last.offset, length: last.length + block.length };
    } else differing.push(block);
  }
  return differing;
}
