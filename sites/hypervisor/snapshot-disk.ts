/** A source disk as a recovery point in the replica store has it: what a replica VM's disk starts from. */
import type { ReadableDisk } from '../../disks/disk.js';
import { CatalogueError } from '../../domain/errors.js';
import { end, intersect, splitRange, type Range } from '../../domain/ranges.js';
import type { ReplicaStore } from '../../ports/replica-store.js';

/** What a store gives in one piece. */
const MAX_READ_BYTES = 4 * 1024 * 1024;
const SECTOR_BYTES = 512;

export class SnapshotDisk implements ReadableDisk {
  /** @param size of the source disk, bytes; the page blob behind is a fixed VHD, rounded up, with its footer. */
  private constructor(
    private readonly store: ReplicaStore,
    private readonly blob: string,
    private readonly snapshot: string,
    readonly size: number,
  ) {}

  /** @throws CatalogueError InvalidReplicaState when the store has no such snapshot, or not all of it. */
  static async open(store: ReplicaStore, blob: string, snapshot: string, size: number): Promise<SnapshotDisk> {
    if (!(await store.pageBlobs.listSnapshots(blob, { isReadable: true })).includes(snapshot)) {
      throw new CatalogueError('InvalidReplicaState', `${blob} has no snapshot ${snapshot} that can be read`);
    }
    return new SnapshotDisk(store, blob, snapshot, size);
  }

  async read(target: Buffer, offset: number): Promise<void> {
    if (offset < 0 || offset + target.length > this.size) {
      throw new RangeError(`${this.blob}: ${target.length} bytes at ${offset} are not within ${this.size}`);
    }
    const first = offset - (offset % SECTOR_BYTES);
    const last = Math.ceil((offset + target.length) / SECTOR_BYTES) * SECTOR_BYTES;
    for (const piece of splitRange({ offset: first, length: last - first }, MAX_READ_BYTES)) {
      const content = Buffer.allocUnsafe(piece.length);
      await this.store.pageBlobs.readInto(this.blob, piece.offset, content, { snapshot: this.snapshot });
      const wanted = intersect(piece, { offset, length: target.length })!;
      content.copy(target, wanted.offset - offset, wanted.offset - piece.offset, end(wanted) - piece.offset);
    }
  }

  async dataRanges(range: Range): Promise<Range[]> {
    const within = intersect(range, { offset: 0, length: this.size });
    if (!within) return [];
    const first = within.offset - (within.offset % SECTOR_BYTES);
    const last = Math.ceil(end(within) / SECTOR_BYTES) * SECTOR_BYTES;
    const pages = { offset: first, length: last - first };
    const found = await this.store.pageBlobs.ranges(this.blob, pages, { snapshot: this.snapshot });
    return found.flatMap((part) => intersect(part, within) ?? []);
  }

  /** The store stays the caller's. */
  close(): Promise<void> {
    return Promise.resolve();
  }
}
