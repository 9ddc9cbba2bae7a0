/** Page blobs under fences, as a storage account has them. */
import type { Range } from '../domain/ranges.js';
import type { WriteFence } from './objects.js';

/** `clear` pages read as zeroes then. Offsets and lengths are multiples of 512. */
export type PageWrite =
  | { readonly offset: number; readonly data: Buffer }
  | { readonly offset: number; readonly clear: number };

export interface WriteOptions {
  /** The caller reads back all it writes and compares: a checksum on the way would be work done twice. */
  readonly isReadBack?: boolean;
}

export interface PageReadOptions {
  /** As it was then. @default as it is now */
  readonly snapshot?: string | undefined;
  /** What is stored, rather than what some cache remembers of it. */
  readonly isReadBack?: boolean;
}

export interface PageRangeOptions {
  /** As it was then. @default as it is now */
  readonly snapshot?: string | undefined;
  /** For a proof: nothing is left out for what a file system says of holes, only for what the store itself answers zeroes. */
  readonly isProof?: boolean;
}

export interface SnapshotListOptions {
  /** Those only of which the store has all that reading them takes. */
  readonly isReadable?: boolean;
}

/**
 * Whatever resolves is durable: on stable storage, not in a cache. Fences are those of the objects in the same store.
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
  /** Bytes, of the blob or of a snapshot of it; undefined when there is no such blob. @throws InvalidReplicaState when it has no such snapshot. */
  size(name: string, snapshot?: string): Promise<number | undefined>;
  write(name: string, writes: readonly PageWrite[], fence: WriteFence, options?: WriteOptions): Promise<void>;
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
