/** The VM snapshot, as what a VM can do without when its volume fills up. It is merged then, with nobody asking for it. */
import type { Reserve, TrackerOptions } from '../../tracking/tracker-options.js';
import type { VmDisks } from './vm-disks.js';
import type { VmSnapshot } from './vm-snapshot.js';

export class SnapshotReserve implements Reserve {
  /** @param merge merges for a while. @returns bytes left. */
  constructor(
    private readonly disks: VmDisks,
    private readonly snapshot: VmSnapshot,
    private readonly merge: () => Promise<number>,
    private readonly warn: TrackerOptions['warn'],
  ) {}

  async giveUp(cause: string): Promise<boolean> {
    if (!(await this.snapshot.giveUp(cause))) return false;
    void this.#mergeAll();
    return true;
  }

  /** Whatever stops it, whoever asks for the next merge or snapshot goes on with it. */
  async #mergeAll(): Promise<void> {
    try {
      while ((await this.merge()) > 0);
    } catch (error) {
      this.warn('a dropped snapshot is not merged yet', error);
    }
  }

  get isComingBack(): boolean {
    return this.disks.areMerging;
  }
}
