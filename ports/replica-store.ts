/**
 * The replica store, as the engine needs it: objects and page blobs under fences.
 * Every operation can be repeated: done twice it leaves what once would have left.
 */
import type { Fence } from '../domain/fence.js';
import type { Range } from '../domain/ranges.js';

/** A fence and what it fences: everything below `scope` (a prefix of object names, one VM's folder). */
export interface WriteFence extends Fence {
  readonly scope: string;
}

/** `data` undefined clears the pages of `length` bytes. Offsets and lengths are multiples of 512. */
export type PageWrite =
  | { readonly offset: number; readonly data: Buffer }
  | { readonly offset: number; readonly clear: number };

export interface WriteOptions {
  /** The caller reads back all it writes and compares: a checksum on the way would be work done twice. */
  readonly isReadBack?: boolean;
}

export interface ReadBackOptions {
  /** What is stored, rather than what some cache remembers of it. */
  readonly isReadBack?: boolean;
}

export interface PageRangeOptions {
  /** For a proof: nothing is left out for what a file system says of holes, only for what the store itself answers zeroes. */
  readonly isProof?: boolean;
}

export interface SnapshotListOptions {
  /** Those only of which the store has all that reading them takes. */
  readonly isReadable?: boolean;
}

/**
 * The replica store: objects and page blobs, as a storage account has them. Names are slash-separated.
 * Whatever resolves is durable: on stable storage, not in a cache.
 * @throws CatalogueError StoreUnreachable, StoreFull, StaleEpoch (fenced), InvalidReplicaState.
 */
export interface ReplicaStore {
  /** Replaces the whole object at once; a reader sees the old or the new. */
  putObject(name: string, data: Buffer, fence: WriteFence): Promise<void>;
  /** @returns false, and changes nothing, when the object is there already. */
  putObjectIfAbsent(name: string, data: Buffer, fence: WriteFence): Promise<boolean>;
  /** As `putObject` for what does not fit in memory. Nothing is seen of it before it is whole. */
  uploadObject(name: string, chunks: AsyncIterable<Buffer>, fence: WriteFence): Promise<void>;
  getObject(name: string): Promise<Buffer | undefined>;
  /** Reads a part. @throws InvalidReplicaState when there is no such object or it is shorter. */
  readObject(name: string, offset: number, length: number): Promise<Buffer>;
  /** As `readObject`, into a buffer that the caller uses again. */
  readObjectInto(name: string, offset: number, target: Buffer, options?: ReadBackOptions): Promise<void>;
  /** Names below a prefix, sorted. */
  listObjects(prefix: string): Promise<string[]>;
  deleteObject(name: string, fence: WriteFence): Promise<void>;

  /** All zeroes. Repeated with the same size: nothing; with another: InvalidReplicaState. */
  createPageBlob(name: string, size: number, fence: WriteFence): Promise<void>;
  /**
   * To a larger size, zeroes behind what there was; snapshots keep the size and the content they have. Repeated with the
   * same size: nothing. @throws InvalidReplicaState when there is no such blob, or it is larger.
   */
  resizePageBlob(name: string, size: number, fence: WriteFence): Promise<void>;
  /** Bytes, of the blob or of a snapshot of it; undefined when there is no such blob. @throws InvalidReplicaState when it has no such snapshot. */
  pageBlobSize(name: string, snapshot?: string): Promise<number | undefined>;
  writePages(name: string, writes: readonly PageWrite[], fence: WriteFence, options?: WriteOptions): Promise<void>;
  readPages(name: string, offset: number, length: number, snapshot?: string): Promise<Buffer>;
  /** Fills `target` with what is stored, rather than with what some cache remembers of it: for reading back. */
  readPagesInto(name: string, offset: number, target: Buffer): Promise<void>;
  /** Parts of a range that may hold anything but zeroes, sorted; nothing outside the range. */
  listPageRanges(name: string, range: Range, snapshot?: string, options?: PageRangeOptions): Promise<Range[]>;
  deletePageBlob(name: string, fence: WriteFence): Promise<void>;
  /** Copies nothing. @returns its id; ids of one blob sort by age. */
  snapshotPageBlob(name: string, fence: WriteFence): Promise<string>;
  /** Oldest first. */
  listSnapshots(name: string, options?: SnapshotListOptions): Promise<string[]>;
  deleteSnapshot(name: string, snapshot: string, fence: WriteFence): Promise<void>;

  /** From when it resolves on, every write below the scope that carries an older fence is refused. Never lowers it. */
  raiseFence(fence: WriteFence): Promise<void>;
  readFence(scope: string): Promise<Fence>;
  close(): Promise<void>;
}
