/** A source disk's contents at a recovery point in the replica store: the base of a replica VM's disk. */
import type { ReadableDisk } from '../../disks/disk.js';
import { intersect, type Range } from '../../domain/ranges.js';
import type { DiskAddress, ReadableReplicaDisk, ReplicaDisks } from '../../ports/replica-disks.js';

export class SnapshotDisk implements ReadableDisk {
  private constructor(
    private readonly replica: ReadableReplicaDisk,
    private readonly name: string,
    readonly size: number,
  ) {}

  /**
   * @param size of the source disk, bytes; the replica's size is rounded up.
   * @throws CatalogueError InvalidReplicaState if the store does not have this snapshot, or only a part of it.
   */
  static async open(
    disks: Pick<ReplicaDisks, 'openReadOnly'>,
    disk: DiskAddress,
    snapshot: string,
    size: number,
  ): Promise<SnapshotDisk> {
    return new SnapshotDisk(await disks.openReadOnly(disk, snapshot), `${disk.vm}/${disk.disk}`, size);
  }

  async read(target: Buffer, offset: number): Promise<void> {
    if (offset < 0 || offset + target.length > this.size) {
      throw new RangeError(`${this.name}: ${target.length} bytes at ${offset} are not within ${this.size}`);
    }
    await this.replica.read(target, offset);
  }

  async dataRanges(range: Range): Promise<Range[]> {
    const within = intersect(range, { offset: 0, length: this.size });
    return within ? await this.replica.dataRanges(within) : [];
  }

  /** Closes only the replica; the store belongs to the caller. */
  async close(): Promise<void> {
    await this.replica.close();
  }
}
