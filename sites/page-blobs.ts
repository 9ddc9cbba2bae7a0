/** Page blobs under fences, as in a storage account: both stores build their replica disks on them. */
import type { Range } from '../domain/ranges.js';
import type { WriteFence } from '../ports/objects.js';
import type { DataRangeOptions, DiskWrite, SnapshotListOptions, WriteOptions } from '../ports/replica-disks.js';

export interface PageReadOptions {
  /** The blob as it was at this snapshot. @default as it is now */
  readonly snapshot?: string | undefined;
  /** Read the data that is stored, not a cached copy. */
  readonly isReadBack?: boolean;
}

export interface PageRangeOptions extends DataRangeOptions {
  /** The blob as it was at this snapshot. @default as it is now */
  readonly snapshot?: string | undefined;
}

/**
 * When a call resolves, its effect is durable: on stable storage, not in a cache. Fences are those of the objects in
 * the same store. Offsets and lengths of writes are multiples of 512.
 * @throws CatalogueError StoreUnreachable, StoreFull, StaleEpoch (fenced), InvalidReplicaState.
 */
export interface PageBlobs {
  /** All zeroes. Repeated with the same size, does nothing; with another size: InvalidReplicaState. */
  create(name: string, size: number, fence: WriteFence): Promise<void>;
  /**
   * Enlarges a blob with zeroes at its end; snapshots keep their size and content. Repeated with the same size, does
   * nothing. @throws InvalidReplicaState if there is no such blob, or it is larger.
   */
  resize(name: string, size: number, fence: WriteFence): Promise<void>;
  /**
   * Size in bytes of the blob or one of its snapshots; undefined if there is no such blob.
   * @throws InvalidReplicaState if it has no such snapshot.
   */
  size(name: string, snapshot?: string): Promise<number | undefined>;
  write(name: string, writes: readonly DiskWrite[], fence: WriteFence, options?: WriteOptions): Promise<void>;
  readInto(name: string, offset: number, target: Buffer, options?: PageReadOptions): Promise<void>;
  /** Parts of a range that may contain anything but zeroes, sorted; nothing outside the range. */
  ranges(name: string, range: Range, options?: PageRangeOptions): Promise<Range[]>;
  delete(name: string, fence: WriteFence): Promise<void>;
  /** Copies no data. @returns its id; the ids of one blob sort by age. */
  snapshot(name: string, fence: WriteFence): Promise<string>;
  /** Oldest first. */
  listSnapshots(name: string, options?: SnapshotListOptions): Promise<string[]>;
  deleteSnapshot(name: string, snapshot: string, fence: WriteFence): Promise<void>;
}
