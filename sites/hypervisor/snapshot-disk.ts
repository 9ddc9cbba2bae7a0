/** A source disk as a recovery point in the replica store has it: what a replica VM's disk starts from. */
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
   * @param size of the source disk, bytes; the replica is rounded up.
   * @throws CatalogueError InvalidReplicaState when the store has no such snapshot, or not all of it.
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

  /** The store stays the caller's. */
  async close(): Promise<void> {
    await this.replica.close();
  }
}
