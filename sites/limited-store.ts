/**
 * A replica store that limits the rate at which data is sent to it. Content waits for its turn, in pieces if it is
 * long; reads, and requests without content, do not wait.
 */
import type { Fence } from '../domain/fence.js';
import type { BandwidthLimiter } from './bandwidth-limiter.js';
import type { Objects, WriteFence } from '../ports/objects.js';
import type { DiskAddress, DiskWrite, ReplicaDisk, ReplicaDisks, WriteOptions } from '../ports/replica-disks.js';
import type { ReplicaStore } from '../ports/replica-store.js';

/** Identifies a sender. */
export interface Sender {
  /** Ends the wait of its data; the wait rejects with the reason. */
  readonly signal?: AbortSignal;
  /** Called whenever data may be sent: a long wait must not look like a hang. */
  readonly onGranted?: () => void;
}

export class LimitedStore implements ReplicaStore {
  readonly objects: Objects;
  readonly disks: ReplicaDisks;
  readonly #store: ReplicaStore;

  constructor(store: ReplicaStore, limiter: BandwidthLimiter, sender: Sender = {}) {
    const turns = new Turns(limiter, sender);
    this.#store = store;
    this.objects = limitedObjects(store.objects, turns);
    this.disks = limitedDisks(store.disks, turns);
  }

  close = (): Promise<void> => this.#store.close();
}

function limitedObjects(inner: Objects, turns: Turns): Objects {
  return {
    put: async (name: string, data: Buffer, fence: WriteFence) => {
      await turns.takeAll(data.length);
      await inner.put(name, data, fence);
    },
    putIfAbsent: async (name: string, data: Buffer, fence: WriteFence) => {
      await turns.takeAll(data.length);
      return await inner.putIfAbsent(name, data, fence);
    },
    upload: (name, chunks, fence) => inner.upload(name, turns.pieces(chunks), fence),
    get: (name) => inner.get(name),
    read: (name, offset, length) => inner.read(name, offset, length),
    readInto: (name, offset, target, options) => inner.readInto(name, offset, target, options),
    list: (prefix) => inner.list(prefix),
    listSizes: (prefix) => inner.listSizes(prefix),
    delete: (name, fence) => inner.delete(name, fence),
    raiseFence: (fence) => inner.raiseFence(fence),
    readFence: (scope) => inner.readFence(scope),
  };
}

function limitedDisks(inner: ReplicaDisks, turns: Turns): ReplicaDisks {
  return {
    open: async (disk: DiskAddress, fence: Fence) => limitedDisk(await inner.open(disk, fence), turns),
    openReadOnly: (disk, snapshot) => inner.openReadOnly(disk, snapshot),
    create: (disk, size, fence) => inner.create(disk, size, fence),
    resize: (disk, size, fence) => inner.resize(disk, size, fence),
    size: (disk, snapshot) => inner.size(disk, snapshot),
    delete: (disk, fence) => inner.delete(disk, fence),
    mend: (disk, fence) => inner.mend(disk, fence),
    snapshot: (disk, fence) => inner.snapshot(disk, fence),
    listSnapshots: (disk, options) => inner.listSnapshots(disk, options),
    deleteSnapshot: (disk, snapshot, fence) => inner.deleteSnapshot(disk, snapshot, fence),
  };
}

function limitedDisk(inner: ReplicaDisk, turns: Turns): ReplicaDisk {
  return {
    size: inner.size,
    write: async (writes: readonly DiskWrite[], options?: WriteOptions) => {
      await turns.inPieces(writes, async (piece) => await inner.write(piece, options));
    },
    read: (target, offset) => inner.read(target, offset),
    readUncached: (target, offset) => inner.readUncached(target, offset),
    dataRanges: (range, options) => inner.dataRanges(range, options),
    close: () => inner.close(),
  };
}

/** Data that waits to be sent, in the order in which the bandwidth grants it. */
class Turns {
  constructor(
    private readonly limiter: BandwidthLimiter,
    private readonly sender: Sender,
  ) {}

  /** Divides writes where the granted bytes end. */
  async inPieces(writes: readonly DiskWrite[], send: (piece: readonly DiskWrite[]) => Promise<void>): Promise<void> {
    let rest = writes;
    do {
      const bytes = rest.reduce((sum, write) => sum + ('data' in write ? write.data.length : 0), 0);
      const granted = bytes > 0 ? await this.#take(bytes) : 0;
      const now = granted < bytes ? firstBytes(rest, granted) : { head: rest, tail: [] };
      await send(now.head);
      rest = now.tail;
    } while (rest.length > 0);
  }

  /** For data that has to be sent in one piece. */
  async takeAll(bytes: number): Promise<void> {
    for (let taken = 0; taken < bytes;) taken += await this.#take(bytes - taken);
  }

  async *pieces(chunks: AsyncIterable<Buffer>): AsyncGenerator<Buffer, void, undefined> {
    for await (const chunk of chunks) {
      for (let at = 0; at < chunk.length;) {
        const granted = await this.#take(chunk.length - at);
        yield chunk.subarray(at, at + granted);
        at += granted;
      }
    }
  }

  async #take(wanted: number): Promise<number> {
    const granted = await this.limiter.take(wanted, this.sender.signal);
    this.sender.onGranted?.();
    return granted;
  }
}

/** Splits writes after this many bytes of content, a multiple of 512. */
function firstBytes(writes: readonly DiskWrite[], bytes: number): { head: DiskWrite[]; tail: DiskWrite[] } {
  const head: DiskWrite[] = [];
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
