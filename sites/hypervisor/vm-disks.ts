/** The chains of a VM's disks, opened and closed together, and what a VM snapshot does to them. */
import { CatalogueError } from '../../domain/errors.js';
import { mergeRanges, type Range } from '../../domain/ranges.js';
import type { Tracker } from '../../tracking/tracker.js';
import type { DiskToTrack } from '../../tracking/tracker-options.js';
import type { Identities } from '../../tracking/tracker-rest.js';
import type { HypervisorDisk } from '../../ports/hypervisor-vm.js';
import { DiskChain, type Displaced, type DiskOfVm } from './vm-chain.js';

const MERGE_STEP_BYTES = 16 * 1024 * 1024;
/** Of a list of what was written: from so many ranges on a page ends, after as many bytes of the disk as are looked at in one go. */
const RANGES_A_PAGE = 4096;
const WINDOW_BYTES = 256 * 1024 * 1024;

export interface WrittenPage {
  readonly ranges: readonly Range[];
  /** Where the next page begins; left out: this is the last. */
  readonly next?: number;
}

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
    const [identities, files] = [await this.identify(), await this.fileKeys()];
    return this.#opened().map((chain, index) => ({
      ...this.all[index]!,
      chain: chain.top,
      identity: identities[index],
      file: files[index],
    }));
  }

  /** Which files the open disks are, in their order; undefined where that can't be told. */
  fileKeys(): Promise<(string | undefined)[]> {
    return Promise.all(this.#opened().map((chain) => chain.fileKey()));
  }

  /** What their files are now, in their order: the open ones, else those at their paths. */
  identify(): Promise<Identities> {
    return Promise.all(
      this.all.map(async (disk, index) => {
        if (disk.excluded) return undefined;
        return this.#chains ? this.#chains[index]!.identify() : disk.identify?.();
      }),
    );
  }

  /** The first disk of which the VM has another file open than its path leads to. Undefined when all is well, or closed. */
  async displaced(): Promise<Displaced | undefined> {
    for (const [index, chain] of (this.#chains ?? []).entries()) {
      const { name, excluded } = this.all[index]!;
      const displaced = excluded ? undefined : await chain.displaced();
      if (displaced) return { ...displaced, detail: `disk ${name} was replaced: ${displaced.detail}` };
    }
    return undefined;
  }

  /** Before somebody reads disks by their paths. @throws CatalogueError DiskMissing, BrokenChain when another file is there. */
  async requireInPlace(): Promise<void> {
    const displaced = await this.displaced();
    if (!displaced) return;
    const { isGone, detail } = displaced;
    if (isGone) throw new CatalogueError('DiskMissing', detail);
    const remedy =
      'put that file back, or restart the hypervisor (`farshore hypervisor`, or `farshore down` and `farshore up`): ' +
      'the VM then uses the new file';
    throw new CatalogueError('BrokenChain', `${detail}; ${remedy}`);
  }

  /** Which file an open disk is; undefined where that can't be told. */
  async fileKey(name: string): Promise<string | undefined> {
    return this.#chains?.[this.all.findIndex((disk) => disk.name === name)]?.fileKey();
  }

  /** What was written to an open disk, from an offset on. @throws CatalogueError DiskMissing when there is no such disk. */
  writtenFrom(name: string, offset: number): WrittenPage {
    const chain = this.#opened()[this.all.findIndex((disk) => disk.name === name)];
    if (!chain) throw new CatalogueError('DiskMissing', `the VM has no disk ${name}`);
    const { size } = chain.top;
    const ranges: Range[] = [];
    let next = offset;
    while (next < size && ranges.length < RANGES_A_PAGE) {
      const window = { offset: next, length: Math.min(WINDOW_BYTES, size - next) };
      ranges.push(...chain.writtenRanges(window));
      next += window.length;
    }
    return { ranges: mergeRanges(ranges), ...(next < size && { next }) };
  }

  /** Are the open disks of the sizes that the tracker knows? */
  fit(tracker: Tracker): boolean {
    return this.#opened().every(({ top }, index) => top.size === tracker.disks[index]!.size);
  }

  /** Puts the tracked disks on the chains' tops; nothing may be in flight. */
  attach(tracker: Tracker): void {
    for (const [index, chain] of this.#opened().entries()) tracker.disks[index]!.attach(chain.top);
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

  /** Whether the base of a disk is no longer what it was when the snapshot was taken. */
  get areMerging(): boolean {
    return (this.#chains ?? []).some(({ snapshot }) => snapshot?.merging);
  }

  /** How many disks copy up what guests write, so that their bases stay as they were. */
  get copyingUp(): number {
    return (this.#chains ?? []).filter(({ snapshot }) => snapshot?.merging === false).length;
  }

  /** From when it resolves on the snapshot takes no more space. */
  async beginMerge(): Promise<void> {
    for (const { snapshot } of this.#chains ?? []) await snapshot?.beginMerge();
  }

  /** Removes overlays that nothing was written to; nothing may be in flight. */
  async dropUnusedSnapshot(): Promise<void> {
    for (const chain of this.#opened()) {
      if (!chain.snapshot || chain.snapshot.overlayBytes > 0) continue;
      await chain.snapshot.beginMerge();
      await chain.dropSnapshot();
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
