/** The chains of a VM's disks, opened and closed together, and what a VM snapshot does to them. */
import type { Tracker } from '../../replication/tracker.js';
import type { DiskToTrack } from '../../replication/tracker-options.js';
import type { Identities } from '../../replication/tracker-rest.js';
import type { HypervisorDisk } from '../ports.js';
import { DiskChain, type DiskOfVm } from './hypervisor-chain.js';

const MERGE_STEP_BYTES = 16 * 1024 * 1024;

export class VmDisks {
  #chains: readonly DiskChain[] | undefined;

  constructor(readonly all: readonly DiskOfVm[]) {}

  get areOpen(): boolean {
    return this.#chains !== undefined;
  }

  /** How many disks a VM snapshot has. */
  get replicated(): number {
    return this.all.filter(({ excluded }) => !excluded).length;
  }

  /** How many disks have the overlay of a VM snapshot. */
  get snapshots(): number {
    return this.#opened().filter((chain) => chain.snapshot).length;
  }

  /** All or none. Open already: nothing. @throws CatalogueError DiskMissing, BrokenChain, InvalidVmState */
  async open(): Promise<void> {
    if (this.#chains) return;
    const chains: DiskChain[] = [];
    try {
      for (const disk of this.all) chains.push(await DiskChain.open(disk));
      this.#chains = chains;
    } catch (error) {
      await Promise.all(chains.map((chain) => chain.close()));
      throw error;
    }
  }

  /** For a tracker to be loaded on, before anything is written. @throws CatalogueError DiskMissing, ReadFailed */
  async toTrack(): Promise<DiskToTrack[]> {
    const identities = await this.identify();
    return this.#opened().map((chain, index) => ({
      ...this.all[index]!,
      chain: chain.top,
      identity: identities[index],
    }));
  }

  /** What their files are now, in their order. */
  identify(): Promise<Identities> {
    return Promise.all(this.all.map(async (disk) => (disk.excluded ? undefined : await disk.identify?.())));
  }

  /** Are the open disks of the sizes that the tracker knows? */
  fit(tracker: Tracker): boolean {
    return this.#opened().every(({ top }, index) => top.size === tracker.disks[index]!.size);
  }

  /** Puts the tracked disks on the chains' tops; nothing may be in flight. */
  attach(tracker: Tracker): void {
    for (const [index, chain] of this.#opened().entries()) tracker.disks[index]!.attach(chain.top);
  }

  async flush(): Promise<void> {
    await Promise.all((this.#chains ?? []).map((chain) => chain.top.flush()));
  }

  async close(tracker?: Tracker): Promise<void> {
    const chains = this.#chains ?? [];
    this.#chains = undefined;
    for (const disk of tracker?.disks ?? []) disk.detach();
    for (const chain of chains) await chain.close();
  }

  /** Nothing may be in flight. */
  async takeSnapshot(): Promise<void> {
    for (const [index, chain] of this.#opened().entries()) {
      if (!this.all[index]!.excluded) await chain.takeSnapshot();
    }
  }

  /** @param milliseconds how long to work at most. @returns bytes left. */
  async mergeSnapshot(milliseconds: number): Promise<number> {
    const deadline = performance.now() + milliseconds;
    let left = 0;
    for (const { snapshot } of this.#opened()) {
      if (!snapshot) continue;
      await snapshot.beginMerge();
      let ofThis = snapshot.overlayBytes;
      while (ofThis > 0 && performance.now() < deadline) ofThis = await snapshot.mergeStep(MERGE_STEP_BYTES);
      left += ofThis;
    }
    return left;
  }

  /** Removes overlays that are merged; nothing may be in flight. */
  async dropSnapshot(): Promise<void> {
    for (const chain of this.#opened()) await chain.dropSnapshot();
  }

  #opened(): readonly DiskChain[] {
    if (!this.#chains) throw new Error('the disks are closed');
    return this.#chains;
  }

  /** @param uriOf where a disk is served; undefined while it is not. */
  describe(tracker: Tracker | undefined, uriOf: (disk: DiskOfVm) => string | undefined): HypervisorDisk[] {
    return this.all.map((disk, index) => {
      const { name, path, format, excluded } = disk;
      const tracked = tracker?.disks[index];
      const nbdUri = uriOf(disk);
      return {
        ...{ name, path, format, size: tracked?.size ?? 0 },
        ...(nbdUri === undefined ? {} : { nbdUri }),
        logBytes: tracked ? tracker!.logBytes(tracked) : 0,
        ...(excluded && { excluded }),
      };
    });
  }
}
