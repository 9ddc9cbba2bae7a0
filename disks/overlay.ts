/**
 * A disk with the content of its base at one instant plus everything written since: the VM snapshot of an initial copy
 * (the base keeps the old content, and the overlay is merged into it afterwards), or a replica VM's disk above a
 * recovery point. Overlays can be stacked.
 *
 * A block whose bit is set is in the overlay, and only there; every other block is in the base.
 * 1. A bit is written after its block is on stable storage: after the death of the process or the loss of the machine,
 * no bit is set without its data.
 * 2. While merging, a clear bit is on stable storage before anything is written to that block of the base: the loss of
 * the machine cannot bring back the overlay's older block. No more bits are set, so the merge ends.
 * 3. Bits and blocks change under the exclusive lock of the block. Reads take no lock, but check afterwards whether
 * blocks have moved.
 */
import { CatalogueError } from '../domain/errors.js';
import { clipRanges, end, mergeRanges, totalLength, type Range } from '../domain/ranges.js';
import type { BlockBitmap, BlockRun } from './block-bitmap.js';
import { BlockMap, type Segment } from './block-map.js';
import { copyRange, copySparseRange } from './copy-range.js';
import type { ReadableDisk, VirtualDisk } from './disk.js';
import { diskError } from './disk-errors.js';
import { GroupSync } from './group-sync.js';
import {
  createOverlayFiles,
  openOverlayFiles,
  removeOverlayFiles,
  storeOverlayState,
  type OverlayFiles,
} from './overlay-files.js';
import { RangeLock } from './range-lock.js';
import type { RawDisk } from './raw.js';
import { settleAll } from './settle-all.js';

const DEFAULT_BLOCK_SIZE = 64 * 1024;
/** A guest's write to a block that is being merged waits for its group, so groups are small. */
const MERGE_GROUP_BYTES = 8 * 1024 * 1024;
const MERGE_GROUP_RUNS = 128;

export class OverlayDisk implements VirtualDisk {
  readonly size: number;
  readonly blockSize: number;
  readonly #data: RawDisk;
  readonly #bitmap: BlockBitmap;
  /** A copy of the bitmap file's content. */
  readonly #map: BlockMap;
  readonly #lock = new RangeLock();
  readonly #dataSync: GroupSync;
  #merging: boolean;
  /** Number of groups merged so far: shows a read that blocks may have moved meanwhile. */
  #merges = 0;
  #mergeCursor = 0;
  #baseFlushed = false;
  /** Set if it is unknown which bits are stored: writing on could put a block where it would not be found again. */
  #failure: Error | undefined;

  private constructor(
    readonly path: string,
    private readonly base: ReadableDisk,
    files: OverlayFiles,
  ) {
    this.size = base.size;
    this.blockSize = files.blockSize;
    this.#data = files.data;
    this.#bitmap = files.bitmap;
    this.#map = new BlockMap(base.size, files.blockSize);
    this.#merging = files.state === 'merging';
    this.#dataSync = new GroupSync(() => this.#data.flush());
  }

  /**
   * Creates an empty overlay at `path`; an existing one is opened. The caller closes the base, and nothing else may
   * write to the base from now on.
   * @param options.blockSize bytes, a multiple of 512.
   */
  static async create(path: string, base: ReadableDisk, options: { blockSize?: number } = {}): Promise<OverlayDisk> {
    return OverlayDisk.#load(
      path,
      base,
      await createOverlayFiles(path, base.size, options.blockSize ?? DEFAULT_BLOCK_SIZE),
    );
  }

  /**
   * @param options.readOnly its current content, valid as long as its writer does not change it.
   * @throws CatalogueError DiskMissing if there is none: everything written to it would silently be lost.
   */
  static async open(path: string, base: ReadableDisk, options: { readOnly?: boolean } = {}): Promise<OverlayDisk> {
    return OverlayDisk.#load(path, base, await openOverlayFiles(path, base.size, options));
  }

  static async #load(path: string, base: ReadableDisk, files: OverlayFiles): Promise<OverlayDisk> {
    const disk = new OverlayDisk(path, base, files);
    try {
      for await (const run of files.bitmap.setRuns()) disk.#map.mark(run, true);
      return disk;
    } catch (error) {
      await disk.close();
      throw diskError(error, path, 'read');
    }
  }

  /** True from `beginMerge` on, even after it is opened again. */
  get merging(): boolean {
    return this.#merging;
  }

  /** Bytes of the blocks that are in the overlay. */
  get overlayBytes(): number {
    return this.#map.markedBlocks * this.blockSize;
  }

  /** The parts of a range that are in the overlay, in whole blocks; everything else is in the base. */
  ownRanges(range: Range): Range[] {
    const own = [...this.#map.markedRuns(this.#map.runOf(range))].map((run) => this.#map.rangeOf(run));
    return clipRanges(own, range);
  }

  /**
   * Every block that a change touches for the first time is copied as a whole: into this overlay, or into a base that
   * is an overlay.
   */
  growthOf(range: Range): number {
    if (this.#merging) return 'growthOf' in this.base ? (this.base as VirtualDisk).growthOf!(range) : 0;
    const clear = this.#map.segments(this.#map.inBlocks(range)).filter((segment) => !segment.marked);
    return totalLength(clear);
  }

  async read(target: Buffer, offset: number): Promise<void> {
    await this.#settled({ offset, length: target.length }, (segment) =>
      this.#home(segment).read(target.subarray(segment.offset - offset, end(segment) - offset), segment.offset),
    );
  }

  async dataRanges(range: Range): Promise<Range[]> {
    const length = Math.max(0, Math.min(end(range), this.size) - range.offset);
    const found = await this.#settled({ offset: range.offset, length }, (segment) =>
      this.#home(segment).dataRanges(segment),
    );
    return mergeRanges(found.flat());
  }

  async write(data: Buffer, offset: number): Promise<void> {
    await this.#change({ offset, length: data.length }, (disk, piece) =>
      disk.write(data.subarray(piece.offset - offset, end(piece) - offset), piece.offset),
    );
  }

  async writeZeroes(range: Range): Promise<void> {
    await this.#change(range, (disk, piece) => disk.writeZeroes(piece));
  }

  async flush(): Promise<void> {
    await settleAll([this.#dataSync.run(), this.#do(() => this.#bitmap.sync()), this.#flushBase()]);
  }

  /** From now on, blocks are moved to the base. Resolves when that is on stable storage; repeatable. */
  async beginMerge(): Promise<void> {
    this.#writableBase();
    await this.#lock.with([this.#whole()], 'exclusive', async () => {
      if (this.#merging) return;
      await this.#do(() => storeOverlayState(this.#bitmap, 'merging'));
      this.#merging = true;
    });
  }

  /**
   * Moves some blocks to the base.
   * @param maxBytes approximate number of bytes; at least one block is moved.
   * @returns bytes still in the overlay. At 0, the overlay can be removed.
   */
  async mergeStep(maxBytes: number): Promise<number> {
    if (!this.#merging) throw new Error(`${this.path}: mergeStep before beginMerge`);
    if (this.#failure) throw this.#failure;
    for (let moved = 0; moved === 0 || moved < maxBytes;) {
      const blocks = Math.max(1, Math.floor(Math.min(maxBytes - moved, MERGE_GROUP_BYTES) / this.blockSize));
      const group = this.#map.markedFrom(this.#mergeCursor, blocks, MERGE_GROUP_RUNS);
      const last = group.at(-1);
      if (!last) break;
      this.#mergeCursor = last.start + last.count;
      await this.#mergeGroup(group);
      for (const run of group) moved += run.count * this.blockSize;
    }
    return this.overlayBytes;
  }

  /** Closes and deletes the overlay when everything is in the base. */
  async remove(): Promise<void> {
    if (!this.#merging || this.#map.markedBlocks > 0) {
      throw new CatalogueError('MergeUnfinished', `${this.path}: ${this.overlayBytes} bytes are not merged yet`);
    }
    await this.close();
    await removeOverlayFiles(this.path);
  }

  /** Waits for writes in flight. Does not close the base. */
  async close(): Promise<void> {
    await this.#lock.with([this.#whole()], 'exclusive', async () => {
      await settleAll([this.#data.close(), this.#bitmap.close()]);
    });
  }

  async #change(range: Range, apply: (disk: VirtualDisk, piece: Range) => Promise<void>): Promise<void> {
    this.#check(range);
    if (range.length === 0) return;
    // If no copy-up is needed now, none will be needed later: only a merge clears bits, and it copies nothing up.
    const mode = this.#needsCopyUp(range) ? 'exclusive' : 'shared';
    await this.#lock.with([this.#map.inBlocks(range)], mode, async () => {
      if (this.#failure) throw this.#failure;
      if (this.#needsCopyUp(range)) await this.#copyUp(range, apply);
      else await settleAll(this.#map.segments(range).map((segment) => apply(this.#writableHome(segment), segment)));
    });
  }

  #needsCopyUp(range: Range): boolean {
    return !this.#merging && !this.#map.allMarked(range);
  }

  /**
   * Copies the clear blocks that a change touches into the overlay, with the change applied. Holds their exclusive
   * lock.
   */
  async #copyUp(range: Range, apply: (disk: VirtualDisk, piece: Range) => Promise<void>): Promise<void> {
    const blocks = this.#map.inBlocks(range);
    const clear = this.#map.segments(blocks).filter((segment) => !segment.marked);
    const edges: Range[] = [];
    if (clear[0]!.offset === blocks.offset) {
      edges.push({ offset: blocks.offset, length: range.offset - blocks.offset });
    }
    if (end(clear.at(-1)!) === end(blocks)) edges.push({ offset: end(range), length: end(blocks) - end(range) });
    await settleAll([...edges.map((edge) => copyRange(edge, this.base, this.#data)), apply(this.#data, range)]);
    await this.#dataSync.run();
    const runs = clear.map((segment) => this.#map.runOf(segment));
    await this.#do(() => settleAll(runs.map((run) => this.#bitmap.set(run))));
    for (const run of runs) this.#map.mark(run, true);
  }

  async #mergeGroup(group: readonly BlockRun[]): Promise<void> {
    const base = this.#writableBase();
    await this.#lock.with(
      group.map((run) => this.#map.rangeOf(run)),
      'exclusive',
      async () => {
        // Another step may have merged some of them during the wait.
        const runs = group.flatMap((run) => [...this.#map.markedRuns(run)]);
        await settleAll(runs.map((run) => copySparseRange(this.#map.rangeOf(run), this.#data, base)));
        await base.flush();
        await this.#clearBits(runs);
        this.#merges += 1;
        for (const run of runs) this.#map.mark(run, false);
        await settleAll(runs.map((run) => this.#data.discard(this.#map.rangeOf(run))));
      },
    );
  }

  /** Resolves when the bits are clear on stable storage. */
  async #clearBits(runs: readonly BlockRun[]): Promise<void> {
    try {
      await settleAll(runs.map((run) => this.#bitmap.clear(run)));
      await this.#bitmap.sync();
    } catch (error) {
      this.#failure = diskError(error, this.path, 'write') as Error;
      throw this.#failure;
    }
  }

  /** Calls `ask` for every segment of a range, and again if a block moved to the base meanwhile. */
  async #settled<T>(range: Range, ask: (segment: Segment) => Promise<T>): Promise<T[]> {
    this.#check(range);
    for (;;) {
      const merges = this.#merges;
      const segments = this.#map.segments(range);
      const answers = await settleAll(segments.map(ask));
      if (merges === this.#merges || segments.every((segment) => !segment.marked || this.#map.allMarked(segment))) {
        return answers;
      }
    }
  }

  #home(segment: Segment): ReadableDisk {
    return segment.marked ? this.#data : this.base;
  }

  #writableHome(segment: Segment): VirtualDisk {
    return segment.marked ? this.#data : this.#writableBase();
  }

  #writableBase(): VirtualDisk {
    if ('write' in this.base) return this.base as VirtualDisk;
    throw new Error(`${this.path}: the base can only be read`);
  }

  async #flushBase(): Promise<void> {
    // Before merging, the base no longer changes: the guest's writes to it before the snapshot have to be flushed only
    // once.
    if (!('write' in this.base) || (this.#baseFlushed && !this.#merging)) return;
    await this.#writableBase().flush();
    this.#baseFlushed = true;
  }

  #whole(): Range {
    return { offset: 0, length: this.size };
  }

  #check(range: Range): void {
    if (range.offset < 0 || range.length < 0 || end(range) > this.size) {
      throw new RangeError(
        `${this.path}: bytes ${range.offset}+${range.length} are not within the disk of ${this.size}`,
      );
    }
  }

  async #do(action: () => Promise<unknown>): Promise<void> {
    try {
      await action();
    } catch (error) {
      throw diskError(error, this.path, 'write');
    }
  }
}
