/**
 * Copies a disk, slice by slice: reads all of it, skips zeroes, and writes the rest to the replica's disk. If the
 * replica of a slice was digested before, as in a resynchronization, it sends only the blocks that differ. Every write
 * has the content of the source at that place, so a late write by a copier that was thought dead does no harm. For the
 * same reason, ranges that are about to be written are never cleared first.
 */
import { CatalogueError } from '../domain/errors.js';
import type { Fence } from '../domain/fence.js';
import { clipRanges, end, splitRange, subtractRanges, totalLength, type Range } from '../domain/ranges.js';
import type { ReadableDisk } from '../disks/disk.js';
import type { Objects } from '../ports/objects.js';
import type { DiskWrite, ReplicaDisk } from '../ports/replica-disks.js';
import type { ReplicaStore } from '../ports/replica-store.js';
import { BufferPool } from '../disks/buffer-pool.js';
import { SliceDigests, wholeBlocks } from './digest.js';
import { packs } from './packs.js';
import type { Progress, StepOptions } from './progress.js';
import { inParallel, readAhead } from '../concurrency/in-parallel.js';
import { describedDisk, descriptionOfEpoch, vmFence } from './replica-state.js';
import { seedRecords, sliceCount, sliceRange, SLICE_SIZE } from './seed-record.js';
import { Semaphore } from '../concurrency/semaphore.js';
import { readDigests, targetRecords } from './target-digests.js';
import { withDisk } from './with-disk.js';

/** Bytes. A multiple of the digests' block size. */
const BUFFER_SIZE = 4 * 1024 * 1024;
/** Number of buffers whose content is sent and made durable together. */
const BATCH_BUFFERS = 4;
const ZEROES = Buffer.alloc(BUFFER_SIZE);
/** Bytes of hole that take as long as one byte of data: they are read, but not sent. */
const HOLE_SPEED = 64;
const READS_AHEAD = 2;
const BATCHES_IN_FLIGHT = 1;
/** Number of slices whose data is in memory at the same time. */
const SLICES_WITH_DATA = 2;
/** For slices of holes, only the records take time, because each waits for stable storage. */
const SLICES_IN_FLIGHT = 8;

export interface CopyTask {
  readonly vm: string;
  readonly disk: string;
  /** Where to continue, bytes; a slice is begun again if this is in its middle. */
  readonly fromOffset: number;
  /** Where to stop, bytes: slices that begin there or later are not copied. @default the end of the disk */
  readonly toOffset?: number;
  /** Stops at the end of the slice with which this many bytes have been read at the source; holes count for little. */
  readonly maxBytes: number;
  readonly fence: Fence;
}

export interface CopyResult {
  /** The disk is copied from `fromOffset` up to here. */
  readonly nextOffset: number;
  /** Bytes of disk processed, including holes and slices copied before. */
  readonly bytesDone: number;
  /** Bytes that were not zero and were therefore sent. */
  readonly dataBytes: number;
  /** True if the end of the disk has been reached. */
  readonly done: boolean;
}

export interface CopyProgress extends Progress {
  /** Everything from `fromOffset` up to here is durable: a checkpoint for a later call. */
  readonly nextOffset: number;
}

/**
 * May be aborted or die at any point, and be run again with the same or an older `fromOffset`: slices with a record are
 * skipped.
 * @throws CatalogueError StaleEpoch, InvalidReplicaState, and the errors of the disk and the store.
 */
export async function copySlice(
  store: ReplicaStore,
  source: ReadableDisk,
  task: CopyTask,
  options: StepOptions<CopyProgress> = {},
): Promise<CopyResult> {
  const { vm, fence } = task;
  const { size, replicaSize } = describedDisk(await descriptionOfEpoch(store, vm, fence.epoch), task.disk);
  if (size !== source.size) {
    throw new CatalogueError(
      'InvalidReplicaState',
      `${vm}/${task.disk}: the source has ${source.size} bytes, the replica was made for ${size}`,
    );
  }
  return await withDisk(store.disks.open(task, fence), (target) =>
    copySlices(store.objects, source, target, { ...task, replicaSize }, options),
  );
}

async function copySlices(
  objects: Objects,
  source: ReadableDisk,
  target: ReplicaDisk,
  task: CopyTask & { readonly replicaSize: number },
  options: StepOptions<CopyProgress>,
): Promise<CopyResult> {
  const { vm, disk, fence, replicaSize } = task;
  const first = Math.floor(task.fromOffset / SLICE_SIZE);
  const count = sliceCount(Math.min(replicaSize, task.toOffset ?? replicaSize));
  const copied = await seedRecords(objects, { vm, disk, epoch: fence.epoch });
  const digested = await targetRecords(objects, { vm, disk, epoch: fence.epoch });
  const copier = new SliceCopier(source, target);
  const start = first * SLICE_SIZE;
  const buffers = new BufferPool(BUFFER_SIZE);
  let toRead = 0;
  let dataBytes = 0;
  let nextOffset = Math.min(start, replicaSize);

  async function* open(): AsyncGenerator<OpenSlice> {
    for (let slice = first; slice < count && toRead < task.maxBytes; slice += 1) {
      options.signal?.throwIfAborted();
      const range = sliceRange(slice, replicaSize);
      const found = copied.has(slice) ? undefined : await readableBlocks(source, range, buffers, options.signal);
      if (found) toRead += totalLength(found.data) + found.holeBytes / HOLE_SPEED;
      yield { slice, range, data: found?.data };
    }
  }
  const copy = async ({ slice, range, data }: OpenSlice): Promise<{ stop: number; sent: number }> => {
    if (!data) return { stop: end(range), sent: 0 };
    const held = await readDigests(digested, slice, range);
    const { digests, sent } = await copier.copy(range, data, held, options.signal);
    // A slice that consists of holes only is quickly copied again.
    if (data.length === 0) await copied.putLater(slice, digests.encode(), vmFence(vm, fence));
    else await copied.put(slice, digests.encode(), vmFence(vm, fence));
    return { stop: end(range), sent };
  };
  // In order, so that the reported progress has no gaps.
  for await (const { stop, sent } of readAhead(open(), SLICES_IN_FLIGHT, copy)) {
    nextOffset = stop;
    dataBytes += sent;
    const durable = Math.min(nextOffset, copied.pendingFrom * SLICE_SIZE);
    options.onProgress?.({ bytesDone: stop - start, bytesTotal: replicaSize - start, nextOffset: durable });
  }
  await copied.flush(vmFence(vm, fence));
  // If the step was aborted while the last slices were in flight, the caller must not see a success.
  options.signal?.throwIfAborted();
  return { nextOffset, bytesDone: nextOffset - start, dataBytes, done: nextOffset >= replicaSize };
}

interface OpenSlice {
  readonly slice: number;
  readonly range: Range;
  /** Ranges to read; undefined if the slice has been copied before. */
  readonly data: Range[] | undefined;
}

/**
 * The ranges of a slice that may have to be sent, in whole blocks; the source may end before the slice does. Holes are
 * read as well and must contain zeroes: a hole reported by the file system does not prove what a guest reads there.
 */
async function readableBlocks(
  disk: ReadableDisk,
  slice: Range,
  buffers: BufferPool,
  signal: AbortSignal | undefined,
): Promise<{ data: Range[]; holeBytes: number }> {
  const length = Math.min(end(slice), disk.size) - slice.offset;
  if (length <= 0) return { data: [], holeBytes: 0 };
  const data = wholeBlocks(await disk.dataRanges({ offset: slice.offset, length }), slice);
  const holes = subtractRanges([{ offset: slice.offset, length }], data);
  const pieces = holes.flatMap((hole) => [...splitRange(hole, BUFFER_SIZE)]);
  await inParallel(pieces, READS_AHEAD, async (piece) => {
    signal?.throwIfAborted();
    const buffer = buffers.take();
    const content = buffer.subarray(0, piece.length);
    await (disk.readUncached ?? disk.read).call(disk, content, piece.offset);
    if (!content.equals(ZEROES.subarray(0, piece.length))) data.push(piece);
    buffers.give(buffer);
  });
  return { data: wholeBlocks(data, slice), holeBytes: totalLength(holes) };
}

class SliceCopier {
  readonly #source: ReadableDisk;
  readonly #target: ReplicaDisk;
  readonly #buffers = new BufferPool(BUFFER_SIZE);
  readonly #withData = new Semaphore(SLICES_WITH_DATA);

  constructor(source: ReadableDisk, target: ReplicaDisk) {
    this.#source = source;
    this.#target = target;
  }

  /**
   * When this resolves, the whole slice is durable in the replica. Writes only blocks whose digests differ from those
   * in `held`, which reading back relies on. @returns digests of the source, and the number of bytes sent.
   */
  async copy(
    slice: Range,
    data: readonly Range[],
    held: SliceDigests | undefined,
    signal: AbortSignal | undefined,
  ): Promise<{ digests: SliceDigests; sent: number }> {
    // An earlier attempt, or damage found on reading back, may have left data where the source has zeroes. If there are
    // digests of the replica, they show it, and the store is not asked. Ranges outside the slice belong to other
    // slices, which may have been copied already.
    const occupied = held ? [slice] : clipRanges(await this.#target.dataRanges(slice), slice);
    const digests = new SliceDigests(slice);
    const found: Found = { content: [], sent: [] };
    if (data.length > 0) {
      await this.#withData.run(() => this.#send(this.#batches(data, held, digests, found), signal));
    }
    const wrong = held ? digests.differing(held) : [slice];
    const zeroes = subtractRanges(wrong, found.content);
    const clears = subtractRanges(occupied, subtractRanges([slice], zeroes)).map(({ offset, length }): DiskWrite => ({
      offset,
      clear: length,
    }));
    if (clears.length > 0) await this.#target.write(clears);
    return { digests, sent: totalLength(found.sent) };
  }

  async #send(batches: AsyncIterable<Batch>, signal: AbortSignal | undefined): Promise<void> {
    await inParallel(batches, BATCHES_IN_FLIGHT, async (batch) => {
      signal?.throwIfAborted();
      await this.#target.write(batch.writes, { isReadBack: true });
      for (const buffer of batch.buffers) this.#buffers.give(buffer);
    });
  }

  /** Reads ahead, computes digests, and collects the blocks to send. */
  async *#batches(data: readonly Range[], held: SliceDigests | undefined, digests: SliceDigests, found: Found) {
    let batch = new Batch();
    for await (const { buffer, pieces } of readAhead(packs(data, BUFFER_SIZE), READS_AHEAD, (pack) =>
      this.#read(pack),
    )) {
      let at = 0;
      const writesBefore = batch.writes.length;
      for (const piece of pieces) {
        const content = buffer.subarray(at, at + piece.length);
        const partOf = ({ offset, length }: Range) =>
          content.subarray(offset - piece.offset, offset - piece.offset + length);
        for (const run of digests.add(content, piece.offset)) {
          found.content.push(run);
          for (const part of held ? digests.differing(held, run) : [run]) {
            batch.writes.push({ offset: part.offset, data: partOf(part) });
            found.sent.push(part);
          }
        }
        at += piece.length;
      }
      if (batch.writes.length > writesBefore) batch.buffers.push(buffer);
      else this.#buffers.give(buffer);
      if (batch.buffers.length === BATCH_BUFFERS) {
        yield batch;
        batch = new Batch();
      }
    }
    if (batch.writes.length > 0) yield batch;
  }

  async #read(pieces: readonly Range[]): Promise<{ buffer: Buffer; pieces: readonly Range[] }> {
    const buffer = this.#buffers.take();
    let at = 0;
    for (const { offset, length } of pieces) {
      const readable = Math.min(length, this.#source.size - offset);
      await this.#source.read(buffer.subarray(at, at + readable), offset);
      buffer.fill(0, at + readable, at + length);
      at += length;
    }
    return { buffer, pieces };
  }
}

/** Ranges of the slice, sorted: those that are not zero at the source, and those of them that were sent. */
interface Found {
  readonly content: Range[];
  readonly sent: Range[];
}

class Batch {
  readonly writes: DiskWrite[] = [];
  /** Buffers that hold the data of the writes. */
  readonly buffers: Buffer[] = [];
}
