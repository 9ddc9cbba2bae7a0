/**
 * The undo journal of one snapshot: the content that the blob's blocks had when the snapshot was taken, kept when they are
 * first overwritten. A folder with two files:
 *   before  block n at its own offset; sparse, and zeroes stay holes
 *   bits    block n at bit n % 8 of byte n / 8: set when `before` holds the block
 * A bit is set only when its block is on stable storage, and a block of the blob is overwritten only when its bit is, too.
 * The content of a block in `before` is always the same, whether or not the bit is set: the block as it was at the
 * snapshot.
 *
 * Callers hold the blob's lock for all changes; readers hold none (see `UndoChain`). Other processes change the files
 * between two locks, so nothing is cached except which pages of bits this process itself has synced. Errors are Node's own.
 */
import path from 'node:path';
import { blake3 } from '@napi-rs/blake-hash';
import { fillBits, runsOf, type BlockRun } from '../../disks/block-bitmap.js';
import { dataRanges, punchHole } from '../../disks/native.js';
import { readAt, writeAt } from '../../disks/positional-io.js';
import { syncFolder } from '../../disks/sync-folder.js';
import { alignDown, end, splitRange, type Range } from '../../domain/ranges.js';
import { BufferPool } from '../../disks/buffer-pool.js';
import { withFile } from './files.js';
import { inParallel } from '../../concurrency/in-parallel.js';
import type { JournalFiles } from './journal-files.js';

/** Bytes; the last block of a blob may be shorter. */
export const UNDO_BLOCK = 4096;
/** Bytes copied in one piece, and the number of parallel pieces. */
const PIECE = 1024 * 1024;
const LANES = 4;
/** Bytes of `bits` read and written in one piece: they cover 128 MiB of the blob. */
const BITS_PAGE = 4096;
/** Bytes of `bits` whose holes are requested in one call. */
const SCAN = 64 * 1024 * 1024;

const ZEROES = Buffer.alloc(UNDO_BLOCK);

/** The blocks that a range touches. */
export function blocksOf(range: Range): BlockRun {
  const start = Math.floor(range.offset / UNDO_BLOCK);
  return { start, count: Math.ceil(end(range) / UNDO_BLOCK) - start };
}

/** The bytes of a run of blocks, in a blob of `size` bytes. */
export function bytesOf(run: BlockRun, size: number): Range {
  const offset = run.start * UNDO_BLOCK;
  return { offset, length: Math.min(size, offset + run.count * UNDO_BLOCK) - offset };
}

interface BitsPage {
  readonly bytes: Buffer;
  /** It has marks that are not written yet. */
  marked: boolean;
}

export class UndoJournal {
  readonly #pages = new Map<number, BitsPage>();

  /** @param size of the blob, bytes. */
  constructor(
    readonly size: number,
    private readonly files: JournalFiles,
  ) {}

  /** Creates the two files durably in a folder that has none. Takes no space. */
  static async create(folder: string, size: number): Promise<void> {
    for (const [name, length] of Object.entries(journalLengths(size))) {
      await withFile(path.join(folder, name), 'wx', async (file) => {
        await file.truncate(length);
        await file.sync();
      });
    }
    await syncFolder(folder);
  }

  /** Divides the blocks into those that this journal has and those that it lacks. */
  async split(runs: readonly BlockRun[]): Promise<{ held: BlockRun[]; rest: BlockRun[] }> {
    const held: BlockRun[] = [];
    const rest: BlockRun[] = [];
    for (const run of runs) {
      let at = run.start;
      for await (const found of this.#heldWithin(run)) {
        if (found.start > at) rest.push({ start: at, count: found.start - at });
        held.push(found);
        at = found.start + found.count;
      }
      const stop = run.start + run.count;
      if (at < stop) rest.push({ start: at, count: stop - at });
    }
    return { held, rest };
  }

  /** The runs of blocks that it has, from a block on, in order. */
  async *heldFrom(block: number): AsyncGenerator<BlockRun> {
    const { count } = blocksOf({ offset: 0, length: this.size });
    if (block < count) yield* this.#heldWithin({ start: block, count: count - block });
  }

  /** Fills `target` with the content of blocks that it has; only for such blocks. */
  async read(target: Buffer, offset: number): Promise<void> {
    const count = await readAt(this.files.before.handle, target, offset);
    if (count < target.length) throw new Error(`the undo journal ends at ${offset + count}`);
  }

  /** The ranges that may contain anything but zeroes; only for blocks that it has. */
  dataRanges(range: Range): Range[] {
    return dataRanges(this.files.before.handle.fd, range);
  }

  /**
   * Adds these blocks durably, with the content from `source`.
   * @param source fills the buffer with the content that the blocks at this offset had when the snapshot was taken.
   */
  async keep(runs: readonly BlockRun[], source: (target: Buffer, offset: number) => Promise<void>): Promise<void> {
    // Reused, because a buffer for each of a million small blocks would occupy memory until it is collected.
    const longest = runs.reduce((most, { count }) => Math.max(most, count), 0) * UNDO_BLOCK;
    const buffers = new BufferPool(Math.min(PIECE, longest));
    await inParallel(piecesOf(runs, this.size), LANES, async ({ offset, length }) => {
      const buffer = buffers.take();
      const content = buffer.subarray(0, length);
      await source(content, offset);
      for (const part of nonZeroParts(content)) {
        await writeAt(this.files.before.handle, content.subarray(part.offset, end(part)), offset + part.offset);
      }
      buffers.give(buffer);
    });
    await this.files.before.sync();
    for (const run of runs) await this.#mark(run);
    await this.#storeMarks();
  }

  /** Frees the space of blocks that an older journal has as well. */
  async release(runs: readonly BlockRun[]): Promise<void> {
    for (const run of runs) await punchHole(this.files.before.handle.fd, bytesOf(run, this.size));
  }

  /**
   * Resolves when every bit that was read is on stable storage. The process that set a bit may have died before syncing
   * it, or failed: the bit would be readable but never be stored unless it is written again. That is needed once, until
   * others change it.
   */
  async sync(): Promise<void> {
    await this.#store([...this.#pages].filter(([, { bytes }]) => !isZero(bytes)));
  }

  async *#heldWithin(run: BlockRun): AsyncGenerator<BlockRun> {
    const stop = run.start + run.count;
    const first = Math.floor(run.start / 8);
    for (const scan of splitRange({ offset: first, length: Math.ceil(stop / 8) - first }, SCAN)) {
      for (const data of dataRanges(this.files.bits.handle.fd, scan)) {
        for (const part of splitRange(data, BITS_PAGE)) {
          const page = await this.#page(Math.floor(part.offset / BITS_PAGE));
          const from = Math.max(run.start, part.offset * 8);
          yield* runsOf(page.bytes, alignDown(part.offset, BITS_PAGE) * 8, from, Math.min(stop, end(part) * 8));
        }
      }
    }
  }

  async #mark(run: BlockRun): Promise<void> {
    const perPage = BITS_PAGE * 8;
    const stop = run.start + run.count;
    for (let at = run.start; at < stop; at = alignDown(at, perPage) + perPage) {
      const first = alignDown(at, perPage);
      const page = await this.#page(first / perPage);
      page.marked = true;
      fillBits(page.bytes, at - first, Math.min(stop, first + perPage) - first, true);
    }
  }

  /** A failure leaves marks that are readable but may never be stored; `sync` writes them again before they count. */
  async #storeMarks(): Promise<void> {
    await this.#store([...this.#pages].filter(([, page]) => page.marked));
    for (const page of this.#pages.values()) page.marked = false;
  }

  async #store(pages: readonly (readonly [number, BitsPage])[]): Promise<void> {
    const { bits, storedBits } = this.files;
    const unstored = pages
      .map(([index, { bytes }]) => ({ index, bytes, digest: blake3(bytes).toString('base64') }))
      .filter(({ index, digest }) => storedBits.get(index) !== digest);
    if (unstored.length === 0) return;
    for (const { index, bytes } of unstored) await writeAt(bits.handle, bytes, index * BITS_PAGE);
    await bits.sync();
    for (const { index, digest } of unstored) storedBits.set(index, digest);
  }

  async #page(index: number): Promise<BitsPage> {
    let page = this.#pages.get(index);
    if (!page) {
      const bytes = Buffer.alloc(Math.min(BITS_PAGE, bitsLength(this.size) - index * BITS_PAGE));
      await readAt(this.files.bits.handle, bytes, index * BITS_PAGE);
      this.#pages.set(index, (page = { bytes, marked: false }));
    }
    return page;
  }
}

const bitsLength = (size: number): number => Math.ceil(size / UNDO_BLOCK / 8);

/** The lengths of the two files of a journal, bytes. */
export const journalLengths = (size: number): { before: number; bits: number } => ({
  before: size,
  bits: bitsLength(size),
});

function* piecesOf(runs: readonly BlockRun[], size: number): Generator<Range> {
  for (const run of runs) yield* splitRange(bytesOf(run, size), PIECE);
}

/** The parts of the content that must be written into a file of holes. */
function* nonZeroParts(content: Buffer): Generator<Range> {
  let offset = 0;
  while (offset < content.length) {
    let stop = offset;
    while (stop < content.length && !isZero(content.subarray(stop, stop + UNDO_BLOCK))) stop += UNDO_BLOCK;
    if (stop > offset) yield { offset, length: Math.min(stop, content.length) - offset };
    offset = stop + UNDO_BLOCK;
  }
}

const isZero = (block: Buffer): boolean => block.equals(ZEROES.subarray(0, block.length));
