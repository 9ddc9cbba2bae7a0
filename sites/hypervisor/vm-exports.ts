/** The disks of a VM as NBD exports, open while the VM runs. */
import type { TrackedDisk } from '../../tracking/tracker-disk.js';
import type { Tracker } from '../../tracking/tracker.js';
import type { NbdServer } from '../nbd/nbd-server.js';
import type { Durability, NbdExport } from '../nbd/nbd-export.js';

export class VmExports {
  #areOpen = false;

  constructor(
    private readonly vm: string,
    private readonly disks: readonly { readonly name: string }[],
    private readonly server: NbdServer,
  ) {}

  get areOpen(): boolean {
    return this.#areOpen;
  }

  /** NBD URI of a disk; undefined while it is not served. */
  uri(disk: { readonly name: string }): string | undefined {
    return this.#areOpen ? this.server.uri(this.#nameOf(disk)) : undefined;
  }

  /** Has no effect if the exports are open. */
  open(tracker: Tracker): void {
    if (this.#areOpen) return;
    for (const [index, disk] of this.disks.entries()) {
      this.server.addExport(this.#nameOf(disk), exportOf(tracker.disks[index]!));
    }
    this.#areOpen = true;
  }

  /** Resolves when all requests of guests have finished. */
  async close(): Promise<void> {
    await Promise.all(this.disks.map((disk) => this.server.removeExport(this.#nameOf(disk))));
    this.#areOpen = false;
  }

  #nameOf(disk: { readonly name: string }): string {
    return `${this.vm}/${disk.name}`;
  }
}

/** Of a tracked disk: a guest's flush or FUA write syncs the disk but not the log. */
export const exportOf = (disk: Pick<TrackedDisk, 'size' | 'read' | 'write' | 'writeZeroes' | 'flush'>): NbdExport => {
  const finish = async (written: Promise<void>, { fua }: Durability) => {
    await written;
    if (fua) await disk.flush();
  };
  return {
    size: disk.size,
    read: (target, offset) => disk.read(target, offset),
    write: (data, offset, durability) => finish(disk.write(data, offset), durability),
    writeZeroes: (range, durability) => finish(disk.writeZeroes(range), durability),
    flush: () => disk.flush(),
  };
};
