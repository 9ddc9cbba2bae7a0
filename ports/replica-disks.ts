/**
 * The disks of replicas: virtual disks with snapshots, written under the fence of their VM. They go by VM and name of the
 * disk, and have the virtual size that they were created with; what an adapter makes of them, and what it keeps around their
 * content so that others can open them, is its own business.
 *
 * What an adapter promises:
 * - Whatever resolves is durable: on stable storage, not in a cache.
 * - Every operation can be repeated: done twice it leaves what once would have left.
 * - A write that is cut short leaves each sector of 512 bytes as it was or as it was to be.
 * - A snapshot holds what was written before it was taken, whatever follows, and the disk's size of then.
 * - The fence is that of the VM (`Objects.raiseFence`, scope `vms/<vm>`). It holds at the instant of the change: once raising
 *   it has resolved, nothing lands any more that was opened or is asked for under an older one.
 *
 * Storage that can't refuse a write by its fence has one writer for each epoch instead: opening a disk for writing gives out
 * access of its own, raising the fence revokes what older holders were given, and resolves when that is confirmed.
 */
import type { ReadableDisk } from '../disks/disk.js';
import type { Fence } from '../domain/fence.js';
import type { Range } from '../domain/ranges.js';

export interface DiskAddress {
  readonly vm: string;
  readonly disk: string;
}

/** What is cleared reads as zeroes then. Offsets and lengths are multiples of 512. */
export type DiskWrite =
  | { readonly offset: number; readonly data: Buffer }
  | { readonly offset: number; readonly clear: number };

export interface WriteOptions {
  /** The caller reads back all it writes and compares: a checksum on the way would be work done twice. */
  readonly isReadBack?: boolean;
}

export interface DataRangeOptions {
  /** For a proof: nothing is left out for what a file system says of holes, only for what the store itself answers zeroes. */
  readonly isProof?: boolean;
}

export interface SnapshotListOptions {
  /** Those only of which the store has all that reading them takes. */
  readonly isReadable?: boolean;
}

/** @throws CatalogueError StoreUnreachable, StoreFull, StaleEpoch (fenced), InvalidReplicaState. */
export interface ReplicaDisks {
  /** All zeroes. Repeated with the same size it leaves the content alone. @throws InvalidReplicaState when it has another size. */
  create(disk: DiskAddress, size: number, fence: Fence): Promise<void>;
  /**
   * To a larger size, zeroes behind what there was; snapshots keep the size and the content they have.
   * @throws InvalidReplicaState when there is no such disk, or it is larger.
   */
  resize(disk: DiskAddress, size: number, fence: Fence): Promise<void>;
  /**
   * Bytes, of the disk or of a snapshot of it; undefined when there is no such disk.
   * @throws InvalidReplicaState when it has no such snapshot.
   */
  size(disk: DiskAddress, snapshot?: string): Promise<number | undefined>;
  /** With its snapshots. */
  delete(disk: DiskAddress, fence: Fence): Promise<void>;
  /**
   * Checks what the adapter keeps around the content, of a disk that nobody writes to, and puts it right.
   * @returns what was wrong; undefined when nothing was.
   */
  mend(disk: DiskAddress, fence: Fence): Promise<string | undefined>;

  /** Copies nothing. @returns its id; ids of one disk sort by age, and none is given twice. */
  snapshot(disk: DiskAddress, fence: Fence): Promise<string>;
  /** Oldest first; none of a disk that is not there. */
  listSnapshots(disk: DiskAddress, options?: SnapshotListOptions): Promise<string[]>;
  deleteSnapshot(disk: DiskAddress, snapshot: string, fence: Fence): Promise<void>;

  /** For writing under this fence. @throws InvalidReplicaState when there is no such disk. */
  open(disk: DiskAddress, fence: Fence): Promise<ReplicaDisk>;
  /**
   * As it is now, or was at a snapshot.
   * @throws InvalidReplicaState when there is no such disk, or no such snapshot that can be read.
   */
  openReadOnly(disk: DiskAddress, snapshot?: string): Promise<ReadableReplicaDisk>;
}

/**
 * A replica as anything else that can be copied from. What was opened before a resize ends where the disk ended then.
 * @throws CatalogueError InvalidReplicaState for what is not within it, or not there any more; StoreUnreachable.
 */
export interface ReadableReplicaDisk extends ReadableDisk {
  /** What is stored, rather than what some cache remembers of it: for reading back. */
  readUncached(target: Buffer, offset: number): Promise<void>;
  dataRanges(range: Range, options?: DataRangeOptions): Promise<Range[]>;
}

export interface ReplicaDisk extends ReadableReplicaDisk {
  /**
   * In order: of two writes to one place the later wins.
   * @throws StaleEpoch when a newer fence is recorded than that of the opening.
   */
  write(writes: readonly DiskWrite[], options?: WriteOptions): Promise<void>;
}
