/**
 * A replica store to which no faster is sent than a bandwidth allows. Content waits for its turn, in pieces where it is
 * long; what is read, and asked for without content, does not.
 */
import type { Range } from '../domain/ranges.js';
import type { BandwidthLimiter } from './bandwidth-limiter.js';
import type {
  PageRangeOptions,
  PageWrite,
  ReadBackOptions,
  ReplicaStore,
  SnapshotListOptions,
  WriteFence,
  WriteOptions,
} from '../ports/replica-store.js';

/** Who sends. */
export interface Sender {
  /** Ends what waits to be sent; rejects with its reason. */
  readonly signal?: AbortSignal;
  /** Told whenever something may be sent: who waits long is not one that hangs. */
  readonly onGranted?: () => void;
}

export class LimitedStore implements ReplicaStore {
  readonly #store: ReplicaStore;
  readonly #limiter: BandwidthLimiter;
  readonly #sender: Sender;

  constructor(store: ReplicaStore, limiter: BandwidthLimiter, sender: Sender = {}) {
    this.#store = store;
    this.#limiter = limiter;
    this.#sender = sender;
  }

  async putObject(name: string, data: Buffer, fence: WriteFence): Promise<void> {
    await this.#takeAll(data.length);
    await this.#store.putObject(name, data, fence);
  }

  async putObjectIfAbsent(name: string, data: Buffer, fence: WriteFence): Promise<boolean> {
    await this.#takeAll(data.length);
    return await this.#store.putObjectIfAbsent(name, data, fence);
  }

  async uploadObject(name: string, chunks: AsyncIterable<Buffer>, fence: WriteFence): Promise<void> {
    await this.#store.uploadObject(name, this.#pieces(chunks), fence);
  }

  async writePages(
    name: string,
    writes: readonly PageWrite[],
    fence: WriteFence,
    options?: WriteOptions,
  ): Promise<void> {
    let rest = writes;
    do {
      const bytes = rest.reduce((sum, write) => sum + ('data' in write ? write.data.length : 0), 0);
      const granted = bytes > 0 ? await this.#take(bytes) : 0;
      const now = granted < bytes ? firstBytes(rest, granted) : { head: rest, tail: [] };
      await this.#store.writePages(name, now.head, fence, options);
      rest = now.tail;
    } while (rest.length > 0);
  }

  getObject = (name: string): Promise<Buffer | undefined> => this.#store.getObject(name);
  readObject = (name: string, offset: number, length: number): Promise<Buffer> =>
    this.#store.readObject(name, offset, length);
  readObjectInto = (name: string, offset: number, target: Buffer, options?: ReadBackOptions): Promise<void> =>
    this.#store.readObjectInto(name, offset, target, options);
  listObjects = (prefix: string): Promise<string[]> => this.#store.listObjects(prefix);
  deleteObject = (name: string, fence: WriteFence): Promise<void> => this.#store.deleteObject(name, fence);

  createPageBlob = (name: string, size: number, fence: WriteFence): Promise<void> =>
    this.#store.createPageBlob(name, size, fence);
  resizePageBlob = (name: string, size: number, fence: WriteFence): Promise<void> =>
    this.#store.resizePageBlob(name, size, fence);
  pageBlobSize = (name: string, snapshot?: string): Promise<number | undefined> =>
    this.#store.pageBlobSize(name, snapshot);
  readPages = (name: string, offset: number, length: number, snapshot?: string): Promise<Buffer> =>
    this.#store.readPages(name, offset, length, snapshot);
  readPagesInto = (name: string, offset: number, target: Buffer): Promise<void> =>
    this.#store.readPagesInto(name, offset, target);
  listPageRanges = (name: string, range: Range, snapshot?: string, options?: PageRangeOptions): Promise<Range[]> =>
    this.#store.listPageRanges(name, range, snapshot, options);
  deletePageBlob = (name: string, fence: WriteFence): Promise<void> => this.#store.deletePageBlob(name, fence);
  snapshotPageBlob = (name: string, fence: WriteFence): Promise<string> => this.#store.snapshotPageBlob(name, fence);
  listSnapshots = (name: string, how?: SnapshotListOptions): Promise<string[]> => this.#store.listSnapshots(name, how);
  deleteSnapshot = (name: string, snapshot: string, fence: WriteFence): Promise<void> =>
    this.#store.deleteSnapshot(name, snapshot, fence);

  raiseFence = (fence: WriteFence): Promise<void> => this.#store.raiseFence(fence);
  readFence = (scope: string): ReturnType<ReplicaStore['readFence']> => this.#store.readFence(scope);
  close = (): Promise<void> => this.#store.close();

  async #take(wanted: number): Promise<number> {
    const granted = await this.#limiter.take(wanted, this.#sender.signal);
    this.#sender.onGranted?.();
    return granted;
  }

  /** For what has to be sent in one piece. */
  async #takeAll(bytes: number): Promise<void> {
    for (let taken = 0; taken < bytes;) taken += await this.#take(bytes - taken);
  }

  async *#pieces(chunks: AsyncIterable<Buffer>): AsyncGenerator<Buffer, void, undefined> {
    for await (const chunk of chunks) {
      for (let at = 0; at < chunk.length;) {
        const granted = await this.#take(chunk.length - at);
        yield chunk.subarray(at, at + granted);
        at += granted;
      }
    }
  }
}

/** Splits writes behind so many bytes of content, a multiple of 512. */
function firstBytes(writes: readonly PageWrite[], bytes: number): { head: PageWrite[]; tail: PageWrite[] } {
  const head: PageWrite[] = [];
  let left = bytes;
  for (const [index, write] of writes.entries()) {
    const length = 'data' in write ? write.data.length : 0;
    if (!('data' in write) || length <= left) {
      head.push(write);
      left -= length;
      continue;
    }
    const rest = { offset: write.offset + left, data: write.data.subarray(left) };
    if (left > 0) head.push({ offset: write.offset, data: write.data.subarray(0, left) });
    return { head, tail: [rest, ...writes.slice(index + 1)] };
  }
  return { head, tail: [] };
}
