/**
 * Objects under fences: the records of a vault, and the change files that wait to be applied.
 *
 * What an adapter promises:
 * - Whatever resolves is durable: on stable storage, not in a cache.
 * - A reader sees the whole object, the old or the new.
 * - Every operation can be repeated: done twice it leaves what once would have left.
 * - A fence holds at the instant of the change, not at that of some check before it: once `raiseFence` has resolved, no
 *   write that carries an older fence lands any more, however long ago it was begun and by whichever process.
 *
 * Storage with a conditional write, or a lock that writers hold while they write, keeps the last promise by itself. An adapter
 * for storage with neither keeps it by giving access out instead: one writer for each epoch, with access of its own that the
 * adapter can revoke. Raising a fence then revokes what older holders were given, and resolves only when the storage has
 * confirmed that and what was under way has landed or failed; the fence is recorded where the access is given out, so that
 * whoever asks with an older one gets none.
 */
import type { Fence } from '../domain/fence.js';

/** A fence and what it fences: everything below `scope` (a prefix of object names, one VM's folder). */
export interface WriteFence extends Fence {
  readonly scope: string;
}

export interface ReadBackOptions {
  /** What is stored, rather than what some cache remembers of it. */
  readonly isReadBack?: boolean;
}

/**
 * Names are slash-separated.
 * @throws CatalogueError StoreUnreachable, StoreFull, StaleEpoch (fenced), InvalidReplicaState.
 */
export interface Objects {
  /** Replaces the whole object at once; a reader sees the old or the new. */
  put(name: string, data: Buffer, fence: WriteFence): Promise<void>;
  /** @returns false, and changes nothing, when the object is there already. */
  putIfAbsent(name: string, data: Buffer, fence: WriteFence): Promise<boolean>;
  /** As `put` for what does not fit in memory. Nothing is seen of it before it is whole. */
  upload(name: string, chunks: AsyncIterable<Buffer>, fence: WriteFence): Promise<void>;
  get(name: string): Promise<Buffer | undefined>;
  /** Reads a part. @throws InvalidReplicaState when there is no such object or it is shorter. */
  read(name: string, offset: number, length: number): Promise<Buffer>;
  /** As `read`, into a buffer that the caller uses again. */
  readInto(name: string, offset: number, target: Buffer, options?: ReadBackOptions): Promise<void>;
  /** Names below a prefix, sorted. */
  list(prefix: string): Promise<string[]>;
  delete(name: string, fence: WriteFence): Promise<void>;

  /** From when it resolves on, every write below the scope that carries an older fence is refused. Never lowers it. */
  raiseFence(fence: WriteFence): Promise<void>;
  /** (0, 0) of a scope that nobody has fenced. */
  readFence(scope: string): Promise<Fence>;
}
