/**
 * Appends to a file, one write at a time; entries that are enqueued meanwhile are written together with the next one.
 * So the file is always a prefix of the enqueued entries. After a failure nothing more is written, because it would
 * leave a hole.
 */
import type { FileHandle } from 'node:fs/promises';
import { deferred, type Deferred } from './deferred.js';

/** The kernel takes 1024 buffers in one call; an entry has one or two. */
const MAX_BATCH_ENTRIES = 512;
const MAX_BATCH_BYTES = 8 * 1024 * 1024;

interface Batch {
  readonly position: number;
  readonly buffers: Buffer[];
  bytes: number;
  entries: number;
  readonly done: Deferred<void>;
}

export class Appender {
  readonly #queue: Batch[] = [];
  #pump: Promise<void> | undefined;
  #failure: Error | undefined;

  /**
   * @param end where the next entry goes, bytes.
   * @param written called before anybody else learns of a write, with the position up to which the file is complete. If
   * it throws, the write counts as failed.
   */
  constructor(
    private readonly handle: FileHandle,
    private end: number,
    private readonly written: (end: number) => void = () => undefined,
  ) {}

  /** End of all enqueued entries. */
  get position(): number {
    return this.end;
  }

  /**
   * @param buffers one or two; must not change until the promise settles.
   * @returns resolves when a killed process can no longer lose the entry; rejects with the errno of the failed write.
   */
  append(...buffers: Buffer[]): Promise<void> {
    let bytes = 0;
    for (const buffer of buffers) bytes += buffer.length;
    const batch = this.#batchFor(bytes);
    batch.buffers.push(...buffers);
    batch.bytes += bytes;
    batch.entries += 1;
    this.end += bytes;
    return batch.done.promise;
  }

  /** Resolves when no write is in progress. */
  async idle(): Promise<void> {
    while (this.#pump) await this.#pump;
  }

  /** Like `idle`. @throws the errno of a failed write. */
  async drained(): Promise<void> {
    await this.idle();
    if (this.#failure) throw this.#failure;
  }

  /** Continues from this position; nothing may be in progress. */
  rewind(position: number): void {
    this.end = position;
  }

  #batchFor(bytes: number): Batch {
    const last = this.#queue.at(-1);
    if (last && last.entries < MAX_BATCH_ENTRIES && last.bytes + bytes <= MAX_BATCH_BYTES) return last;
    const batch: Batch = { position: this.end, buffers: [], bytes: 0, entries: 0, done: deferred<void>() };
    // The owner of each entry gets the failure; nobody awaits the batch itself.
    batch.done.promise.catch(() => undefined);
    this.#queue.push(batch);
    this.#pump ??= this.#run();
    return batch;
  }

  async #run(): Promise<void> {
    // Lets entries that are enqueued in the same turn join the first batch.
    await Promise.resolve();
    for (let batch = this.#queue.shift(); batch; batch = this.#queue.shift()) {
      try {
        if (this.#failure) throw this.#failure;
        await writeFully(this.handle, batch.buffers, batch.position);
        this.written(batch.position + batch.bytes);
        batch.done.resolve();
      } catch (error) {
        this.#failure = error as Error;
        batch.done.reject(error);
      }
    }
    this.#pump = undefined;
  }
}

/** Writes everything: `writev` may stop halfway without an error if space runs out. */
export async function writeFully(handle: FileHandle, buffers: Buffer[], position: number): Promise<void> {
  let left = buffers;
  let at = position;
  for (;;) {
    const { bytesWritten } = await handle.writev(left, at);
    at += bytesWritten;
    let skip = bytesWritten;
    let index = 0;
    while (index < left.length && skip >= left[index]!.length) skip -= left[index++]!.length;
    if (index === left.length) return;
    if (bytesWritten === 0) throw Object.assign(new Error('ENOSPC: nothing could be written'), { code: 'ENOSPC' });
    left = [left[index]!.subarray(skip), ...left.slice(index + 1)];
  }
}
