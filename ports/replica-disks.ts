/**
 * The disks of replicas: virtual disks with snapshots, written under the fence of their VM. A disk is identified by VM
 * and disk name, and has the virtual size with which it was created. How an adapter stores it, and what it stores
 * around the content so that other programs can open it, is up to the adapter.
 *
 * An adapter promises:
 * - When a call resolves, its effect is durable: on stable storage, not in a cache.
 * - Every operation is repeatable: performed twice, it has the same effect as performed once.
 * - An interrupted write leaves each sector of 512 bytes with either its old or its new content.
 * - A snapshot keeps the content and the size that the disk had when it was taken.
 * - The fence is that of the VM (`Objects.raiseFence`, scope `vms/<vm>`). It applies at the instant of the change: once
 * raising it has resolved, no operation under an older fence takes effect any more.
 *
 * Storage that cannot refuse a write by its fence has one writer for each epoch instead: opening a disk for writing
 * grants separate access; raising the fence revokes the access of older holders, and resolves when that is confirmed.
 */
import type { ReadableDisk } from '../disks/disk.js';
import type { Fence } from '../domain/fence.js';
import type { Range } from '../domain/ranges.js';

export interface DiskAddress {
  readonly vm: string;
  readonly disk: string;
}

/** Cleared ranges read as zeroes afterwards. Offsets and lengths are multiples of 512. */
export type DiskWrite =
  | { readonly offset: number; readonly data: Buffer }
  | { readonly offset: number; readonly clear: number };

export interface WriteOptions {
  /** The caller reads everything back and compares it, so a checksum in transit would be superfluous. */
  readonly isReadBack?: boolean;
}

export interface DataRangeOptions {
  /** For a proof: skips only ranges that the store itself reports as zeroes, not holes reported by a file system. */
  readonly isProof?: boolean;
}

export interface SnapshotListOptions {
  /** Lists only snapshots for which the store has all data needed to read them. */
  readonly isReadable?: boolean;
}

/** @throws CatalogueError StoreUnreachable, StoreFull, StaleEpoch (fenced), InvalidReplicaState. */
export interface ReplicaDisks {
  /**
   * All zeroes. Repeated with the same size, it leaves the content unchanged. @throws InvalidReplicaState if the disk
   * has another size.
   */
  create(disk: DiskAddress, size: number, fence: Fence): Promise<void>;
  /**
   * Enlarges a disk with zeroes at its end; snapshots keep their size and content.
   * @throws InvalidReplicaState if there is no such disk, or it is larger.
   */
  resize(disk: DiskAddress, size: number, fence: Fence): Promise<void>;
  /**
   * Size in bytes of the disk or of one of its snapshots; undefined if there is no such disk.
   * @throws InvalidReplicaState if it has no such snapshot.
   */
  size(disk: DiskAddress, snapshot?: string): Promise<number | undefined>;
  /** Deletes the disk with its snapshots. */
  delete(disk: DiskAddress, fence: Fence): Promise<void>;
  /**
   * Checks and repairs the data that the adapter stores around the content. Nobody may be writing to the disk.
   * @returns a description of the fault; undefined if there was none.
   */
  mend(disk: DiskAddress, fence: Fence): Promise<string | undefined>;

  /** Copies no data. @returns its id. The ids of one disk sort by age, and are never reused. */
  snapshot(disk: DiskAddress, fence: Fence): Promise<string>;
  /** Oldest first; empty if there is no such disk. */
  listSnapshots(disk: DiskAddress, options?: SnapshotListOptions): Promise<string[]>;
  deleteSnapshot(disk: DiskAddress, snapshot: string, fence: Fence): Promise<void>;

  /** Opens it for writing under this fence. @throws InvalidReplicaState if there is no such disk. */
  open(disk: DiskAddress, fence: Fence): Promise<ReplicaDisk>;
  /**
   * Opens it as it is now, or as it was at a snapshot.
   * @throws InvalidReplicaState if there is no such disk, or no such snapshot that can be read.
   */
  openReadOnly(disk: DiskAddress, snapshot?: string): Promise<ReadableReplicaDisk>;
}

/**
 * A replica that can be read like any other disk. If it was opened before a resize, it ends where the disk ended then.
 * @throws CatalogueError InvalidReplicaState for a range outside the disk, or a disk that no longer exists;
 * StoreUnreachable.
 */
export interface ReadableReplicaDisk extends ReadableDisk {
  /** Reads the data that is stored, not a cached copy: for reading back. */
  readUncached(target: Buffer, offset: number): Promise<void>;
  dataRanges(range: Range, options?: DataRangeOptions): Promise<Range[]>;
}

export interface ReplicaDisk extends ReadableReplicaDisk {
  /**
   * Writes in order: of two writes to the same place, the later one wins.
   * @throws StaleEpoch if a newer fence is recorded than the one under which the disk was opened.
   */
  write(writes: readonly DiskWrite[], options?: WriteOptions): Promise<void>;
}
