/**
 * Objects under fences: the records of a vault, and the change files that wait to be applied.
 *
 * An adapter promises:
 * - When a call resolves, its effect is durable: on stable storage, not in a cache.
 * - A reader sees a whole object, the old or the new one.
 * - Every operation is repeatable: performed twice, it has the same effect as performed once.
 * - A fence applies at the instant of the change, not when it was last checked: once `raiseFence` has resolved, no
 * write with an older fence takes effect any more, however long ago and by whichever process it was begun.
 *
 * Storage with conditional writes, or with a lock that writers hold while they write, keeps the last promise by itself.
 * For storage with neither, an adapter controls access instead: there is one writer for each epoch, with its own access
 * that the adapter can revoke. Raising a fence then revokes the access of older holders, and resolves only when the
 * storage has confirmed it and all writes under way have taken effect or failed. The fence is recorded where access is
 * granted, so that a caller with an older one gets none.
 */
import type { Fence } from '../domain/fence.js';

/** A fence and its scope: it applies to everything below `scope`, a prefix of object names (one VM's folder). */
export interface WriteFence extends Fence {
  readonly scope: string;
}

/** An object, as it is listed. */
export interface ListedObject {
  readonly name: string;
  readonly bytes: number;
  /** When it was written, by the clock of the storage, ISO 8601; undefined if that is unknown. */
  readonly writtenAt?: string;
}

export interface ReadBackOptions {
  /** Read the data that is stored, not a cached copy. */
  readonly isReadBack?: boolean;
}

/**
 * Names are separated by slashes.
 * @throws CatalogueError StoreUnreachable, StoreFull, StaleEpoch (fenced), InvalidReplicaState.
 */
export interface Objects {
  /** Replaces the whole object atomically; a reader sees the old or the new one. */
  put(name: string, data: Buffer, fence: WriteFence): Promise<void>;
  /** @returns false, and changes nothing, if the object exists. */
  putIfAbsent(name: string, data: Buffer, fence: WriteFence): Promise<boolean>;
  /** As `put`, for content that does not fit in memory. The object appears only when it is complete. */
  upload(name: string, chunks: AsyncIterable<Buffer>, fence: WriteFence): Promise<void>;
  get(name: string): Promise<Buffer | undefined>;
  /** Reads a part. @throws InvalidReplicaState if there is no such object or it is shorter. */
  read(name: string, offset: number, length: number): Promise<Buffer>;
  /** As `read`, into a buffer that the caller reuses. */
  readInto(name: string, offset: number, target: Buffer, options?: ReadBackOptions): Promise<void>;
  /** Names below a prefix, sorted. */
  list(prefix: string): Promise<string[]>;
  /** As `list`, with size and age. Slower. An object that is deleted meanwhile may be missing. */
  listSizes(prefix: string): Promise<ListedObject[]>;
  delete(name: string, fence: WriteFence): Promise<void>;

  /** When it has resolved, every write below the scope with an older fence is refused. Never lowers a fence. */
  raiseFence(fence: WriteFence): Promise<void>;
  /** (0, 0) for a scope that has never been fenced. */
  readFence(scope: string): Promise<Fence>;
}
