/**
 * Proves that a replica holds the content that its source had at the instant of a cycle, and finds differences, without
 * changing anything. Digests of the replica are computed near the store (target-digests.ts) and compared near the
 * source. Only blocks that differ are transferred, to find the differing bytes.
 */
import { alignedBuffer } from '../disks/direct-io.js';
import type { ReadableDisk } from '../disks/disk.js';
import { CatalogueError } from '../domain/errors.js';
import { compareFences, formatFence } from '../domain/fence.js';
import { end, intersect, mergeRanges, splitRange, type Range } from '../domain/ranges.js';
import { vaultPaths } from '../domain/vault.js';
import type { ReadableReplicaDisk } from '../ports/replica-disks.js';
import type { RecordStore, ReplicaStore } from '../ports/replica-store.js';
import { BufferPool } from '../disks/buffer-pool.js';
import { BLOCK_SIZE, SliceDigests } from './digest.js';
import { progressMeter, type StepOptions } from './progress.js';
import { inParallel } from '../concurrency/in-parallel.js';
import { describedDisk, descriptionOfEpoch, fenceOfEpoch, readApplied } from './replica-state.js';
import { sliceCount, sliceRange } from './seed-record.js';
import { SliceRecords } from './slice-records.js';
import { digestReplicaSlice, READ_SIZE } from './target-digests.js';
import { withDisk } from './with-disk.js';

export interface VerifyTask {
  readonly vm: string;
  readonly disk: string;
  readonly epoch: number;
  /** The cycle at which source snapshot and replica are. */
  readonly sequence: number;
}

export interface Comparison {
  /** Where to continue, bytes. */
  readonly nextOffset: number;
  readonly done: boolean;
  /** Number of blocks of 64 KiB that were compared. */
  readonly blocks: number;
  readonly differingBlocks: number;
  /** Differences, exact to the byte for the first `EXACT_BLOCKS`, then in whole blocks. */
  readonly ranges: readonly Range[];
}

const SLICES_IN_FLIGHT = 2;
/** Number of blocks in one call whose differences are located to the byte. */
const EXACT_BLOCKS = 64;
/** Differing bytes closer to each other than this are reported as one range. */
const SECTOR = 512;

/**
 * Digests every block of a replica disk. Repeated, it digests only missing slices. @throws CatalogueError
 * InvalidReplicaState, StaleEpoch
 */
export async function digestForVerification(
  store: ReplicaStore,
  task: VerifyTask,
  options: StepOptions = {},
): Promise<void> {
  const { vm, disk, epoch } = task;
  await requireAt(store, task);
  const fence = await fenceOfEpoch(store, vm, epoch);
  const { replicaSize } = describedDisk(await descriptionOfEpoch(store, vm, epoch), disk);
  const advance = progressMeter(replicaSize, options);
  const records = await digestRecords(store, task);
  const buffers = new BufferPool(READ_SIZE);
  const digest = async (replica: ReadableReplicaDisk, slice: number): Promise<void> => {
    options.signal?.throwIfAborted();
    const range = sliceRange(slice, replicaSize);
    if (!records.has(slice)) {
      const digests = await digestReplicaSlice(replica, range, buffers);
      await records.put(slice, digests.encode(), fence);
    }
    advance(range.length);
  };
  const slices = Array.from({ length: sliceCount(replicaSize) }, (_, slice) => slice);
  await withDisk(store.disks.openReadOnly(task), async (replica) => {
    await inParallel(slices, SLICES_IN_FLIGHT, (slice) => digest(replica, slice));
  });
  // The result is valid only if the replica has not advanced meanwhile.
  await requireAt(store, task);
}

/**
 * Compares the source with the digests, slice by slice, until `until` returns true.
 * @param fromOffset where an earlier call ended. @throws CatalogueError InvalidReplicaState, and the errors of reading
 * the source.
 */
export async function compareWithSource(
  store: ReplicaStore,
  source: ReadableDisk,
  task: VerifyTask & { readonly fromOffset: number },
  until: () => boolean,
  options: StepOptions = {},
): Promise<Comparison> {
  const { vm, disk, epoch } = task;
  const { replicaSize, size } = describedDisk(await descriptionOfEpoch(store, vm, epoch), disk);
  if (size !== source.size) {
    const detail = `${vm}/${disk}: the source has ${source.size} bytes, the replica was made for ${size}`;
    throw new CatalogueError('InvalidReplicaState', detail);
  }
  const records = await digestRecords(store, task);
  return await withDisk(store.disks.openReadOnly(task), (replica) =>
    compareSlices(source, replica, records, { ...task, replicaSize }, until, options),
  );
}

async function compareSlices(
  source: ReadableDisk,
  replica: ReadableReplicaDisk,
  records: SliceRecords,
  { vm, disk, fromOffset, replicaSize }: VerifyTask & { readonly fromOffset: number; readonly replicaSize: number },
  until: () => boolean,
  options: StepOptions,
): Promise<Comparison> {
  const count = sliceCount(replicaSize);
  let slice = Math.floor(fromOffset / sliceRange(0, Infinity).length);
  let blocks = 0;
  const differing: Range[] = [];
  const exact: Range[] = [];
  const buffer = alignedBuffer(READ_SIZE);
  do {
    options.signal?.throwIfAborted();
    const range = sliceRange(slice, replicaSize);
    const content = await records.get(slice);
    const held = content && SliceDigests.decode(range, content);
    if (!held) throw new CatalogueError('InvalidReplicaState', `${vm}/${disk}: slice ${slice} has no digests`);
    const digests = new SliceDigests(range);
    for (const piece of splitRange(range, READ_SIZE)) {
      const data = await readPadded(source, piece, buffer);
      digests.add(data, piece.offset);
      blocks += Math.ceil(piece.length / BLOCK_SIZE);
      for (const block of digests.differing(held, piece).flatMap((run) => [...splitRange(run, BLOCK_SIZE)])) {
        const from = block.offset - piece.offset;
        const bytes = data.subarray(from, from + block.length);
        differing.push(block);
        if (differing.length > EXACT_BLOCKS) exact.push(block);
        else exact.push(...(await differingBytes(replica, block, bytes)));
      }
    }
    slice += 1;
    options.onProgress?.({ bytesDone: Math.min(slice * range.length, replicaSize), bytesTotal: replicaSize });
  } while (slice < count && !until());
  const nextOffset = slice < count ? sliceRange(slice, replicaSize).offset : replicaSize;
  return {
    nextOffset,
    done: slice >= count,
    blocks,
    differingBlocks: differing.length,
    ranges: mergeRanges(exact),
  };
}

/** Deletes the digests of all verifications. */
export async function endVerification(store: RecordStore, { vm, epoch }: { vm: string; epoch: number }): Promise<void> {
  const fence = await fenceOfEpoch(store, vm, epoch);
  const names = await store.objects.list(vaultPaths.verification(vm));
  await inParallel(names, 8, (name) => store.objects.delete(name, fence));
}

const digestRecords = (store: RecordStore, { vm, epoch, sequence, disk }: VerifyTask): Promise<SliceRecords> =>
  SliceRecords.open(store.objects, vaultPaths.verificationPrefix(vm, epoch, sequence, disk));

async function requireAt(store: RecordStore, task: VerifyTask): Promise<void> {
  const applied = await readApplied(store, task.vm);
  if (applied && compareFences(applied, task) === 0) return;
  const found = applied ? formatFence(applied) : 'no cycle';
  throw new CatalogueError(
    'InvalidReplicaState',
    `${task.vm}: the replica is at ${found}, to be verified was ${formatFence(task)}`,
  );
}

/**
 * Reads every byte, whatever the file system reports as holes; zeroes follow after the end of the source. @returns a
 * part of `buffer`.
 */
async function readPadded(source: ReadableDisk, piece: Range, buffer: Buffer): Promise<Buffer> {
  const readable = intersect(piece, { offset: 0, length: source.size })?.length ?? 0;
  if (readable > 0) await (source.readUncached ?? source.read).call(source, buffer.subarray(0, readable), piece.offset);
  return buffer.subarray(0, piece.length).fill(0, readable);
}

/** @param bytes of the source. @returns the whole block if the replica now has the same bytes. */
async function differingBytes(replica: ReadableReplicaDisk, block: Range, bytes: Buffer): Promise<Range[]> {
  const held = Buffer.alloc(block.length);
  await replica.read(held, block.offset);
  const ranges: { offset: number; length: number }[] = [];
  for (let at = 0; at < block.length; at += 1) {
    if (held[at] === bytes[at]) continue;
    const last = ranges.at(-1);
    const offset = block.offset + at;
    if (last && offset - end(last) < SECTOR) last.length = offset + 1 - last.offset;
    else ranges.push({ offset, length: 1 });
  }
  return ranges.length > 0 ? ranges : [block];
}
