/** Page blobs under fences, as a storage account has them: what both stores make their replica disks of. */
import type { Range } from '../domain/ranges.js';
import type { WriteFence } from '../ports/objects.js';
import type { DataRangeOptions, DiskWrite, SnapshotListOptions, WriteOptions } from '../ports/replica-disks.js';

export interface PageReadOptions {
  /** As it was then. @default as it is now */
  readonly snapshot?: string | undefined;
  /** What is stored, rather than what some cache remembers of it. */
  readonly isReadBack?: boolean;
}

export interface PageRangeOptions extends DataRangeOptions {
  /** As it was then. @default as it is now */
  readonly snapshot?: string | undefined;
}

/**
 * Whatever resolves is durable: on stable storage, not in a cache. Fences are those of the objects in the same store; offsets
 * and lengths of what is written are multiples of 512.
 * @throws CatalogueError StoreUnreachable, StoreFull, StaleEpoch (fenced), InvalidReplicaState.
 */
export interface PageBlobs {
  /** All zeroes. Repeated with the same size: nothing; with another: InvalidReplicaState. */
  create(name: string, size: number, fence: WriteFence): Promise<void>;
  /**
   * To a larger size, zeroes behind what there was; snapshots keep the size and the content they have. Repeated with the
   * same size: nothing. @throws InvalidReplicaState when there is no such blob, or it is larger.
   */
  resize(name: string, size: number, fence: WriteFence): Promise<void>;
  /**
   * Bytes, of the blob or of a snapshot of it; undefined when there is no such blob.
   * @throws InvalidReplicaState when it has no such snapshot.
   */
  size(name: string, snapshot?: string): Promise<number | undefined>;
  write(name: string, writes: readonly DiskWrite[], fence: WriteFence, options?: WriteOptions): Promise<void>;
  readInto(name: string, offset: number, target: Buffer, options?: PageReadOptions): Promise<void>;
  /** Parts of a range that may hold anything but zeroes, sorted; nothing outside the range. */
  ranges(name: string, range: Range, options?: PageRangeOptions): Promise<Range[]>;
  delete(name: string, fence: WriteFence): Promise<void>;
  /** Copies nothing. @returns its id; ids of one blob sort by age. */
  snapshot(name: string, fence: WriteFence): Promise<string>;
  /** Oldest first. */
  listSnapshots(name: string, options?: SnapshotListOptions): Promise<string[]>;
  deleteSnapshot(name: string, snapshot: string, fence: WriteFence): Promise<void>;
}
