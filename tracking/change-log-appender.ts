/**
 * Appends to a file, one write at a time; what is enqueued meanwhile goes with the next one. So the file is always a
 * prefix of what was enqueued, and after a failure nothing follows: there would be a hole.
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
   * @param written told, before anybody else, up to where everything is in the file now. Throwing is as a failed write.
   */
  constructor(
    private readonly handle: FileHandle,
    private end: number,
    private readonly written: (end: number) => void = () => undefined,
  ) {}

  /** End of everything that was enqueued. */
  get position(): number {
    return this.end;
  }

  /**
   * @param buffers one or two, left alone until the promise settles.
   * @returns resolves when a killed process no longer loses the entry; rejects with the errno of the failed write.
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

  /** Resolves when nothing is being written. */
  async idle(): Promise<void> {
    while (this.#pump) await this.#pump;
  }

  /** @throws the errno of a write that failed, as `idle` otherwise. */
  async drained(): Promise<void> {
    await this.idle();
    if (this.#failure) throw this.#failure;
  }

  /** Goes on from here; nothing may be under way. */
  rewind(position: number): void {
    this.end = position;
  }

  #batchFor(bytes: number): Batch {
    const last = this.#queue.at(-1);
    if (last && last.entries < MAX_BATCH_ENTRIES && last.bytes + bytes <= MAX_BATCH_BYTES) return last;
    const batch: Batch = { position: this.end, buffers: [], bytes: 0, entries: 0, done: deferred<void>() };
    // Each entry's owner hears of a failure; the batch itself has nobody to tell.
    batch.done.promise.catch(() => undefined);
    this.#queue.push(batch);
    this.#pump ??= this.#run();
    return batch;
  }

  async #run(): Promise<void> {
    // Lets what is enqueued in the same turn join the first batch.
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

/** `writev` may stop half-way, without an error, where space runs out. */
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
