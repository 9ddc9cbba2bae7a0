/**
 * The copy of a disk, slice by slice: reads all of it, drops what is zero, and writes the rest to the replica's
 * disk; of a slice whose replica was digested before, as in a resynchronization, only the blocks that differ. Every
 * write says what the source says at that place, so a copier that was thought dead and writes late does no harm; for the
 * same reason nothing is ever cleared that is about to be written.
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

/** Bytes. A multiple of the digest's blocks. */
const BUFFER_SIZE = 4 * 1024 * 1024;
/** Buffers whose content goes to the store, and is made durable, together. */
const BATCH_BUFFERS = 4;
const ZEROES = Buffer.alloc(BUFFER_SIZE);
/** How many bytes of hole take as long as one of data: they are read, and not sent. */
const HOLE_SPEED = 64;
const READS_AHEAD = 2;
const BATCHES_IN_FLIGHT = 1;
/** Slices whose data is in memory. */
const SLICES_WITH_DATA = 2;
/** Of slices that are holes, only the records take time: each waits for stable storage. */
const SLICES_IN_FLIGHT = 8;

export interface CopyTask {
  readonly vm: string;
  readonly disk: string;
  /** Where to go on, bytes; in the middle of a slice the slice is begun again. */
  readonly fromOffset: number;
  /** Where to stop, bytes: slices that begin there or later are left. @default the end of the disk */
  readonly toOffset?: number;
  /** Stops at the end of the slice that brings the bytes read at the source to this; holes count for little. */
  readonly maxBytes: number;
  readonly fence: Fence;
}

export interface CopyResult {
  /** The disk is copied from `fromOffset` up to here. */
  readonly nextOffset: number;
  /** Bytes of disk gone through, holes and slices copied before included. */
  readonly bytesDone: number;
  /** Bytes that were not zero and so were sent. */
  readonly dataBytes: number;
  /** True when the end of the disk has been reached. */
  readonly done: boolean;
}

export interface CopyProgress extends Progress {
  /** Everything from `fromOffset` up to here is durable: a checkpoint to go on from. */
  readonly nextOffset: number;
}

/**
 * Can be aborted or die anywhere and be run again, with the same or an older `fromOffset`: slices with a record are
 * skipped.
 * @throws CatalogueError StaleEpoch, InvalidReplicaState, and what the disk and the store throw.
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
    // A slice of nothing but holes is done again in no time.
    if (data.length === 0) await copied.putLater(slice, digests.encode(), vmFence(vm, fence));
    else await copied.put(slice, digests.encode(), vmFence(vm, fence));
    return { stop: end(range), sent };
  };
  // In order: what is reported as done has no gaps.
  for await (const { stop, sent } of readAhead(open(), SLICES_IN_FLIGHT, copy)) {
    nextOffset = stop;
    dataBytes += sent;
    const durable = Math.min(nextOffset, copied.pendingFrom * SLICE_SIZE);
    options.onProgress?.({ bytesDone: stop - start, bytesTotal: replicaSize - start, nextOffset: durable });
  }
  await copied.flush(vmFence(vm, fence));
  // Aborted while the last slices were on their way: who asked for it should not hear of an end.
  options.signal?.throwIfAborted();
  return { nextOffset, bytesDone: nextOffset - start, dataBytes, done: nextOffset >= replicaSize };
}

interface OpenSlice {
  readonly slice: number;
  readonly range: Range;
  /** What has to be read; undefined when the slice has been copied before. */
  readonly data: Range[] | undefined;
}

/**
 * What of a slice is to be sent, in whole blocks; the source may end before the slice does. Holes are gone through, and
 * have to read as zeroes: that a file system calls something a hole proves nothing of what a guest reads there.
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
   * Everything of the slice is durable in the replica then. Only blocks whose digests differ from what the replica `held` are
   * touched: whoever reads back goes by it. @returns digests of the source, and bytes that were sent.
   */
  async copy(
    slice: Range,
    data: readonly Range[],
    held: SliceDigests | undefined,
    signal: AbortSignal | undefined,
  ): Promise<{ digests: SliceDigests; sent: number }> {
    // An earlier attempt, or damage that was found on reading back, may have left something where the source has zeroes.
    // Where the digests tell of it, nobody else is asked.
    // What reaches out of the slice is another one's, which may have been copied already.
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

  /** Reads ahead, digests, and gathers what has to be sent. */
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

/** Ranges of the slice, sorted: what is not zero at the source, and what of it was sent. */
interface Found {
  readonly content: Range[];
  readonly sent: Range[];
}

class Batch {
  readonly writes: DiskWrite[] = [];
  /** What the writes' data lies in. */
  readonly buffers: Buffer[] = [];
}
