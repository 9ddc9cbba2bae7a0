/** The chains of a VM's disks, opened and closed together, and what a VM snapshot does to them. */
import type { VirtualDisk } from '../../disks/disk.js';
import { CatalogueError } from '../../domain/errors.js';
import { mergeRanges, type Range } from '../../domain/ranges.js';
import type { Tracker } from '../../tracking/tracker.js';
import type { DiskToTrack } from '../../tracking/tracker-options.js';
import type { Identities } from '../../tracking/tracker-rest.js';
import type { HypervisorDisk } from '../../ports/hypervisor-vm.js';
import { DiskChain, type Displaced, type DiskOfVm } from './vm-chain.js';

const MERGE_STEP_BYTES = 16 * 1024 * 1024;
/**
 * Pages of a list of written ranges: a page ends once it has this many ranges. The disk is examined in windows of this
 * many bytes.
 */
const RANGES_A_PAGE = 4096;
const WINDOW_BYTES = 256 * 1024 * 1024;

export interface WrittenPage {
  readonly ranges: readonly Range[];
  /** Offset of the next page; absent on the last page. */
  readonly next?: number;
}

export class VmDisks {
  #chains: readonly DiskChain[] | undefined;

  constructor(readonly all: readonly DiskOfVm[]) {}

  get areOpen(): boolean {
    return this.#chains !== undefined;
  }

  /** How many disks are part of a VM snapshot. */
  get replicated(): number {
    return this.all.filter(({ excluded }) => !excluded).length;
  }

  /** How many disks currently have a snapshot's overlay. */
  get snapshots(): number {
    return this.#opened().filter((chain) => chain.snapshot).length;
  }

  /**
   * Opens all disks or none; has no effect if they are open.
   * @throws CatalogueError DiskMissing, BrokenChain, InvalidVmState
   */
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

  /** The disks for loading a tracker, before anything is written. @throws CatalogueError DiskMissing, ReadFailed */
  async toTrack(): Promise<DiskToTrack[]> {
    const [identities, files] = [await this.identify(), await this.fileKeys()];
    return this.#opened().map((chain, index) => ({
      ...this.all[index]!,
      chain: chain.top,
      identity: identities[index],
      file: files[index],
    }));
  }

  /** Keys of the open disk files, in the order of the disks; undefined if a file has none. */
  fileKeys(): Promise<(string | undefined)[]> {
    return Promise.all(this.#opened().map((chain) => chain.fileKey()));
  }

  /**
   * Identities of the disk files, in the order of the disks: of the open files, otherwise of the files at the paths.
   */
  identify(): Promise<Identities> {
    return Promise.all(
      this.all.map(async (disk, index) => {
        if (disk.excluded) return undefined;
        return this.#chains ? this.#chains[index]!.identify() : disk.identify?.();
      }),
    );
  }

  /** The first disk whose open file is not the file at its path. Undefined if there is none or the disks are closed. */
  async displaced(): Promise<Displaced | undefined> {
    for (const [index, chain] of (this.#chains ?? []).entries()) {
      const { name, excluded } = this.all[index]!;
      const displaced = excluded ? undefined : await chain.displaced();
      if (displaced) return { ...displaced, detail: `disk ${name} was replaced: ${displaced.detail}` };
    }
    return undefined;
  }

  /**
   * Call before disks are read by their paths.
   * @throws CatalogueError DiskMissing, or BrokenChain if another file is at a path.
   */
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

  /** Key of an open disk's file; undefined if it has none. */
  async fileKey(name: string): Promise<string | undefined> {
    return this.#chains?.[this.all.findIndex((disk) => disk.name === name)]?.fileKey();
  }

  /**
   * One page of the ranges written to an open disk, from an offset on; see `DiskChain.writtenRanges`.
   * @throws CatalogueError DiskMissing if there is no such disk.
   */
  writtenFrom(name: string, offset: number, ofSnapshot: boolean): WrittenPage {
    const chain = this.#opened()[this.all.findIndex((disk) => disk.name === name)];
    if (!chain) throw new CatalogueError('DiskMissing', `the VM has no disk ${name}`);
    const { size } = chain.top;
    const ranges: Range[] = [];
    let next = offset;
    while (next < size && ranges.length < RANGES_A_PAGE) {
      const window = { offset: next, length: Math.min(WINDOW_BYTES, size - next) };
      ranges.push(...chain.writtenRanges(window, ofSnapshot));
      next += window.length;
    }
    return { ranges: mergeRanges(ranges), ...(next < size && { next }) };
  }

  /** Whether the open disks have the sizes that the tracker expects. */
  fit(tracker: Tracker): boolean {
    return this.#opened().every(({ top }, index) => top.size === tracker.disks[index]!.size);
  }

  /** Attaches the tracked disks to the tops of their chains. No request may be in flight. */
  attach(tracker: Tracker): void {
    for (const [index, chain] of this.#opened().entries()) tracker.disks[index]!.attach(chain.top);
  }

  async close(tracker?: Tracker): Promise<void> {
    const chains = this.#chains ?? [];
    this.#chains = undefined;
    for (const disk of tracker?.disks ?? []) disk.detach();
    for (const chain of chains) await chain.close();
  }

  /** No request may be in flight. */
  async takeSnapshot(): Promise<void> {
    for (const [index, chain] of this.#opened().entries()) {
      if (!this.all[index]!.excluded) await chain.takeSnapshot();
    }
  }

  /** The open disks of a VM snapshot as the guest sees them, keyed by name. */
  get replicatedTops(): ReadonlyMap<string, VirtualDisk> {
    const tops = this.#opened().map(({ top }, index) => [this.all[index]!, top] as const);
    return new Map(tops.flatMap(([{ name, excluded }, top]) => (excluded ? [] : [[name, top]])));
  }

  /** Deletes the overlays and everything written to them. The disks are closed. Repeatable. */
  async discardOverlays(): Promise<void> {
    if (this.#chains) throw new Error('the disks are open');
    for (const disk of this.all) if (!disk.excluded) await DiskChain.discardOverlay(disk);
  }

  /** Whether a disk's base has begun to differ from the snapshot. */
  get areMerging(): boolean {
    return (this.#chains ?? []).some(({ snapshot }) => snapshot?.merging);
  }

  /** How many disks copy up guest writes so that their bases stay unchanged. */
  get copyingUp(): number {
    return (this.#chains ?? []).filter(({ snapshot }) => snapshot?.merging === false).length;
  }

  /** Once this resolves, the snapshot takes no more space. */
  async beginMerge(): Promise<void> {
    for (const { snapshot } of this.#chains ?? []) await snapshot?.beginMerge();
  }

  /** Removes overlays that hold no writes. No request may be in flight. */
  async dropUnusedSnapshot(): Promise<void> {
    for (const chain of this.#opened()) {
      if (!chain.snapshot || chain.snapshot.overlayBytes > 0) continue;
      await chain.snapshot.beginMerge();
      await chain.dropSnapshot();
    }
  }

  /** @param milliseconds how long to work at most. @returns how many bytes are left. */
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

  /** Removes overlays that are merged. No request may be in flight. */
  async dropSnapshot(): Promise<void> {
    for (const chain of this.#opened()) await chain.dropSnapshot();
  }

  #opened(): readonly DiskChain[] {
    if (!this.#chains) throw new Error('the disks are closed');
    return this.#chains;
  }

  /** @param uriOf the address at which a disk is served; undefined while it is not. */
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
