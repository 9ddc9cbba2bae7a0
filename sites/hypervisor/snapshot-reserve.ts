/** Gives up the VM snapshot when the volume fills up, to free its space, and then merges it without a request. */
import type { Reserve, TrackerOptions } from '../../tracking/tracker-options.js';
import type { VmDisks } from './vm-disks.js';
import type { VmSnapshot } from './vm-snapshot.js';

export class SnapshotReserve implements Reserve {
  /** @param merge merges for a limited time and returns how many bytes are left. */
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

  /** If this fails, the next request to merge or take a snapshot continues the merge. */
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
