/** The marked blocks of a disk, in memory: 128 KiB for 64 GiB in blocks of 64 KiB. */
import { alignDown, alignUp, end, type Range } from '../domain/ranges.js';
import { fillBits, runsOf, type BlockRun } from './block-bitmap.js';

/** Part of a range whose blocks are either all marked or all unmarked. */
export interface Segment extends Range {
  readonly marked: boolean;
}

export class BlockMap {
  readonly #bits: Uint8Array;
  #markedBlocks = 0;

  /** @param size of the disk, bytes; the last block ends with it. @param blockSize bytes. */
  constructor(
    readonly size: number,
    readonly blockSize: number,
  ) {
    this.#bits = new Uint8Array(Math.ceil(this.blocks / 8));
  }

  get blocks(): number {
    return Math.ceil(this.size / this.blockSize);
  }

  get markedBlocks(): number {
    return this.#markedBlocks;
  }

  mark(run: BlockRun, marked: boolean): void {
    for (const before of this.markedRuns(run)) this.#markedBlocks -= before.count;
    if (marked) this.#markedBlocks += run.count;
    fillBits(this.#bits, run.start, run.start + run.count, marked);
  }

  markedRuns(within: BlockRun): Generator<BlockRun> {
    return runsOf(this.#bits, 0, within.start, within.start + within.count);
  }

  /** The next marked blocks from `start` on, wrapping around at the end; none if no block is marked. */
  markedFrom(start: number, maxBlocks: number, maxRuns: number): BlockRun[] {
    const found: BlockRun[] = [];
    let left = maxBlocks;
    for (const run of this.markedRuns({ start, count: this.blocks - start })) {
      const count = Math.min(run.count, left);
      found.push({ start: run.start, count });
      left -= count;
      if (left === 0 || found.length === maxRuns) break;
    }
    return found.length > 0 || start === 0 ? found : this.markedFrom(0, maxBlocks, maxRuns);
  }

  /** Divides a range of bytes where marked and unmarked blocks meet. */
  segments(range: Range): Segment[] {
    const segments: Segment[] = [];
    let offset = range.offset;
    const add = (stop: number, marked: boolean) => {
      if (stop <= offset) return;
      segments.push({ offset, length: stop - offset, marked });
      offset = stop;
    };
    for (const run of this.markedRuns(this.runOf(range))) {
      add(run.start * this.blockSize, false);
      add(Math.min(end(range), (run.start + run.count) * this.blockSize), true);
    }
    add(end(range), false);
    return segments;
  }

  allMarked(range: Range): boolean {
    return this.segments(range).every((segment) => segment.marked);
  }

  /** The blocks a range touches. */
  runOf(range: Range): BlockRun {
    const start = Math.floor(range.offset / this.blockSize);
    return { start, count: Math.ceil(end(range) / this.blockSize) - start };
  }

  rangeOf(run: BlockRun): Range {
    const offset = run.start * this.blockSize;
    return { offset, length: Math.min(this.size, (run.start + run.count) * this.blockSize) - offset };
  }

  /** Widens a range to the whole blocks it touches. */
  inBlocks(range: Range): Range {
    const offset = alignDown(range.offset, this.blockSize);
    return { offset, length: Math.min(this.size, alignUp(end(range), this.blockSize)) - offset };
  }
}
