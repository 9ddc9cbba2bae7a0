/**
 * The first change set of a failback: the parts of a replica VM's snapshot that the original disks may lack. The cycles
 * that follow have everything written after the snapshot. So if the snapshot is given up while it is read, and newer
 * content is sent in its place, the last cycle makes up for it.
 */
import { CatalogueError } from '../domain/errors.js';
import { end, splitRange, type Range } from '../domain/ranges.js';
import type { ReadableDisk } from '../disks/disk.js';
import type { ChangeSet, ChangeSource, Cut } from '../ports/change-source.js';
import type { RecoveryCompute } from '../ports/recovery-compute.js';
import type { RecordStore } from '../ports/replica-store.js';
import { SliceDigests } from './digest.js';
import { SLICE_SIZE, sliceCount, sliceRange } from './seed-record.js';
import { readDigests, targetRecords } from './target-digests.js';

/** The sequence of this change set; the cycles of the epoch begin at 1. */
export const SNAPSHOT_SEQUENCE = 0;

const READ_SIZE = 4 * 1024 * 1024;

export interface SnapshotTask {
  readonly vm: string;
  /** Epoch of the VM snapshot. */
  readonly epoch: number;
  /** Before the snapshot was taken; ISO 8601. */
  readonly sealedAt: string;
  readonly disks: readonly { readonly name: string; readonly size: number }[];
}

/** The cut as which the change set is sent. */
export const snapshotCut = ({ vm, epoch, sealedAt, disks }: SnapshotTask): Cut => ({
  ...{ vm, epoch, sequence: SNAPSHOT_SEQUENCE, sealedAt, final: false },
  disks: disks.map(({ name, size }) => ({ name, size, token: `snapshot of epoch ${epoch}`, lastWrite: 0 })),
});

/** Yields the ranges of a disk that are to be sent; every iteration yields the same. */
type RangesOf = (disk: string, snapshot: ReadableDisk) => AsyncIterable<readonly Range[]>;

/** For originals that equal the recovery point: the blocks written since. */
export const writtenSince =
  (compute: Pick<RecoveryCompute, 'listWritten'>, vm: string): RangesOf =>
  (disk) =>
    compute.listWritten(vm, disk, { ofSnapshot: true });

/** For other originals: the blocks whose digests differ. The digests were computed at the primary site. */
export const differingFrom = (store: RecordStore, { vm, epoch }: { vm: string; epoch: number }): RangesOf =>
  async function* differing(disk, snapshot) {
    const records = await targetRecords(store.objects, { vm, epoch, disk });
    const buffer = Buffer.alloc(READ_SIZE);
    for (let slice = 0; slice < sliceCount(snapshot.size); slice += 1) {
      const range = sliceRange(slice, snapshot.size);
      const there = await readDigests(records, slice, range);
      if (!there) throw new CatalogueError('InvalidReplicaState', `${vm}/${disk}: slice ${slice} was not digested`);
      yield (await digestSlice(snapshot, range, buffer)).differing(there);
    }
  };

/**
 * Digests the slices of a disk that have no record yet, in order. May die at any point and be run again.
 * @param enough asked before each slice but the first. @returns the offset up to which the disk is digested, bytes.
 */
export async function digestOriginal(
  store: RecordStore,
  disk: Pick<ReadableDisk, 'size' | 'read'>,
  task: { readonly vm: string; readonly disk: string; readonly epoch: number; readonly fromOffset: number },
  { enough, onProgress }: { enough: () => boolean; onProgress: (progress: { bytesDone: number }) => void },
): Promise<{ nextOffset: number; done: boolean }> {
  const { vm, epoch } = task;
  const records = await targetRecords(store.objects, task);
  const buffer = Buffer.alloc(READ_SIZE);
  const first = Math.floor(task.fromOffset / SLICE_SIZE);
  let nextOffset = Math.min(first * SLICE_SIZE, disk.size);
  for (let slice = first; slice < sliceCount(disk.size) && (slice === first || !enough()); slice += 1) {
    const range = sliceRange(slice, disk.size);
    if (!records.has(slice)) {
      const content = (await digestSlice(disk, range, buffer)).encode();
      await records.putIfAbsent(slice, content, { scope: `vms/${vm}`, epoch, sequence: 0 });
    }
    nextOffset = end(range);
    onProgress({ bytesDone: nextOffset });
  }
  return { nextOffset, done: nextOffset >= disk.size };
}

async function digestSlice(disk: Pick<ReadableDisk, 'read'>, slice: Range, buffer: Buffer): Promise<SliceDigests> {
  const digests = new SliceDigests(slice);
  for (const piece of splitRange(slice, READ_SIZE)) {
    const data = buffer.subarray(0, piece.length);
    await disk.read(data, piece.offset);
    digests.add(data, piece.offset);
  }
  return digests;
}

/** Opens the snapshots of all disks. Closing the change set closes them. */
export async function openSnapshotChanges(
  source: Pick<ChangeSource, 'openSnapshotDisk'>,
  { vm, epoch, disks }: SnapshotTask,
  rangesOf: RangesOf,
): Promise<ChangeSet> {
  const opened: { readonly name: string; readonly snapshot: ReadableDisk }[] = [];
  const close = async () => {
    await Promise.all(opened.map(({ snapshot }) => snapshot.close()));
  };
  try {
    for (const { name, size } of disks) {
      const snapshot = await source.openSnapshotDisk(vm, epoch, name);
      opened.push({ name, snapshot });
      if (snapshot.size !== size) {
        throw new CatalogueError('InvalidReplicaState', `${vm}/${name} has ${snapshot.size} bytes, expected ${size}`);
      }
    }
  } catch (error) {
    await close();
    throw error;
  }
  return {
    disks: opened.map(({ name, snapshot }) => ({
      name,
      ranges: { [Symbol.asyncIterator]: () => changeRanges(rangesOf(name, snapshot)) },
      read: async (_, { offset, length }) => {
        const data = Buffer.allocUnsafe(length);
        await snapshot.read(data, offset);
        return data;
      },
    })),
    close,
  };
}

async function* changeRanges(ranges: AsyncIterable<readonly Range[]>) {
  for await (const some of ranges) {
    yield some.map(({ offset, length }) => ({ offset, length, zero: false, position: offset }));
  }
}
