/**
 * One bit for each block of a disk, in a sparse file. Nothing is kept in memory (the page cache is the cache), so
 * several processes can share one file. Bits share bytes, so a process that sets or clears bits, or opens the file for
 * writing, must hold a lock that excludes the setters and clearers of other processes. Within one process, this class
 * takes care of that.
 *
 * The file: `headerBytes` that belong to the owner, then block n at bit `n % 8` of byte `n / 8`. Errors are Node's own.
 */
import { open, type FileHandle } from 'node:fs/promises';
import { end, splitRange, type Range } from '../domain/ranges.js';
import { dataRanges } from './native.js';
import { readAt, writeAt } from './positional-io.js';
import { SyncedFile } from './synced-file.js';

/** Consecutive blocks. */
export interface BlockRun {
  readonly start: number;
  readonly count: number;
}

interface Change {
  readonly run: BlockRun;
  readonly value: boolean;
}

/** Bytes of the file processed together. */
const WINDOW_BYTES = 64 * 1024;
const WINDOW_BLOCKS = WINDOW_BYTES * 8;
/** Bytes of the file whose holes are requested in one call. */
const SCAN_BYTES = 64 * 1024 * 1024;

export class BlockBitmap {
  #pending: Change[] = [];
  /** Writes the pending changes when the write before it is done. */
  #nextWrite: Promise<void> | undefined;
  #lastWrite: Promise<void> = Promise.resolve();
  readonly #synced: SyncedFile;

  private constructor(
    readonly file: FileHandle,
    readonly blocks: number,
    readonly headerBytes: number,
  ) {
    this.#synced = new SyncedFile(file);
  }

  /**
   * Creates the file if it is missing, with all bits clear. Existing content is written again: its writer may have
   * failed to sync it, and the next sync would not report that.
   * @param options.headerBytes kept free for the owner.
   */
  static async open(
    path: string,
    blocks: number,
    options: { headerBytes?: number; readOnly?: boolean } = {},
  ): Promise<BlockBitmap> {
    const headerBytes = options.headerBytes ?? 0;
    const file = await open(path, options.readOnly ? 'r' : 'r+').catch((error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT' && !options.readOnly) return open(path, 'wx+', 0o600);
      throw error;
    });
    try {
      const { size } = await file.stat();
      const wanted = headerBytes + Math.ceil(blocks / 8);
      // Shorter: interrupted between creating and sizing it. Longer: made for a larger disk, which its owner has to
      // notice.
      if (size < wanted && !options.readOnly) await file.truncate(wanted);
      if (!options.readOnly) await writeAgain(file, size);
      return new BlockBitmap(file, blocks, headerBytes);
    } catch (error) {
      await file.close();
      throw error;
    }
  }

  async isSet(block: number): Promise<boolean> {
    return (await this.read({ start: block, count: 1 }))[0] === 1;
  }

  /** One byte for each block of the run, 1 when its bit is set. */
  async read(run: BlockRun): Promise<Uint8Array> {
    this.#check(run);
    const first = Math.floor(run.start / 8);
    const bytes = Buffer.alloc(Math.ceil((run.start + run.count) / 8) - first);
    await readAt(this.file, bytes, this.headerBytes + first);
    const bits = new Uint8Array(run.count);
    for (let i = 0; i < run.count; i += 1) {
      const bit = run.start + i - first * 8;
      bits[i] = (bytes[bit >> 3]! >> (bit & 7)) & 1;
    }
    return bits;
  }

  set(run: BlockRun): Promise<void> {
    return this.#change(run, true);
  }

  clear(run: BlockRun): Promise<void> {
    return this.#change(run, false);
  }

  /** The runs of set blocks within a run, in order, with bounded memory. Consecutive runs may be adjacent. */
  async *setRuns(within: BlockRun = { start: 0, count: this.blocks }): AsyncGenerator<BlockRun> {
    this.#check(within);
    const stop = within.start + within.count;
    for await (const { firstBlock, bytes } of this.#windows(within)) {
      yield* runsOf(
        bytes,
        firstBlock,
        Math.max(within.start, firstBlock),
        Math.min(stop, firstBlock + bytes.length * 8),
      );
    }
  }

  /** Number of set blocks within a run. */
  async count(within: BlockRun = { start: 0, count: this.blocks }): Promise<number> {
    let total = 0;
    for await (const run of this.setRuns(within)) total += run.count;
    return total;
  }

  /** Resolves when all changes are on stable storage. After a failure, it fails until the file is opened again. */
  async sync(): Promise<void> {
    await this.#synced.sync();
  }

  async close(): Promise<void> {
    await this.#nextWrite?.catch(() => undefined);
    await this.#lastWrite;
    await this.file.close();
  }

  /** The stored bytes that cover a run, without the file's holes, which contain no set bits. */
  async *#windows(within: BlockRun): AsyncGenerator<{ firstBlock: number; bytes: Buffer }> {
    const from = Math.floor(within.start / 8);
    const to = Math.ceil((within.start + within.count) / 8);
    const buffer = Buffer.allocUnsafe(Math.min(WINDOW_BYTES, to - from));
    for (let scanned = from; scanned < to; scanned += SCAN_BYTES) {
      const scan: Range = { offset: this.headerBytes + scanned, length: Math.min(SCAN_BYTES, to - scanned) };
      for (const data of dataRanges(this.file.fd, scan)) {
        for (let position = data.offset; position < end(data); position += buffer.length) {
          const bytes = buffer.subarray(0, Math.min(buffer.length, end(data) - position));
          bytes.fill(0, await readAt(this.file, bytes, position));
          yield { firstBlock: (position - this.headerBytes) * 8, bytes };
        }
      }
    }
  }

  /**
   * Changes that are requested during a write are written together: adjacent blocks share bytes, and often a window.
   */
  #change(run: BlockRun, value: boolean): Promise<void> {
    this.#check(run);
    this.#pending.push({ run, value });
    this.#nextWrite ??= this.#lastWrite.then(() => {
      const changes = this.#pending;
      this.#pending = [];
      this.#nextWrite = undefined;
      const write = this.#write(changes);
      this.#lastWrite = write.catch(() => undefined);
      return write;
    });
    return this.#nextWrite;
  }

  async #write(changes: readonly Change[]): Promise<void> {
    const windows = new Map<number, Change[]>();
    for (const { run, value } of changes) {
      for (let start = run.start; start < run.start + run.count;) {
        const window = Math.floor(start / WINDOW_BLOCKS);
        const stop = Math.min(run.start + run.count, (window + 1) * WINDOW_BLOCKS);
        const piece = { run: { start, count: stop - start }, value };
        const others = windows.get(window);
        if (others) others.push(piece);
        else windows.set(window, [piece]);
        start = stop;
      }
    }
    for (const pieces of windows.values()) await this.#writeWindow(pieces);
  }

  /** Reads the bytes of the pieces, applies the changes in the order of their requests, and writes them back. */
  async #writeWindow(pieces: readonly Change[]): Promise<void> {
    let first = Infinity;
    let last = 0;
    for (const { run } of pieces) {
      first = Math.min(first, Math.floor(run.start / 8));
      last = Math.max(last, Math.ceil((run.start + run.count) / 8));
    }
    const bytes = Buffer.alloc(last - first);
    await readAt(this.file, bytes, this.headerBytes + first);
    for (const { run, value } of pieces) {
      fillBits(bytes, run.start - first * 8, run.start + run.count - first * 8, value);
    }
    await writeAt(this.file, bytes, this.headerBytes + first);
  }

  #check(run: BlockRun): void {
    if (run.start < 0 || run.count < 0 || run.start + run.count > this.blocks) {
      throw new RangeError(`blocks ${run.start}+${run.count} are not within the ${this.blocks} of the bitmap`);
    }
  }
}

/** @param size of the file, bytes. Its holes stay holes. */
async function writeAgain(file: FileHandle, size: number): Promise<void> {
  for (const scan of splitRange({ offset: 0, length: size }, SCAN_BYTES)) {
    for (const data of dataRanges(file.fd, scan)) {
      for (const { offset, length } of splitRange(data, WINDOW_BYTES)) {
        const bytes = Buffer.allocUnsafe(length);
        await writeAt(file, bytes.subarray(0, await readAt(file, bytes, offset)), offset);
      }
    }
  }
}

/** Sets or clears the bits from `from` to before `to`. */
export function fillBits(bytes: Uint8Array, from: number, to: number, value: boolean): void {
  let bit = from;
  while (bit < to) {
    if ((bit & 7) === 0 && to - bit >= 8) {
      const wholeBytes = (to - bit) >> 3;
      bytes.fill(value ? 0xff : 0, bit >> 3, (bit >> 3) + wholeBytes);
      bit += wholeBytes * 8;
      continue;
    }
    const mask = 1 << (bit & 7);
    bytes[bit >> 3]! = value ? bytes[bit >> 3]! | mask : bytes[bit >> 3]! & ~mask;
    bit += 1;
  }
}

/** The runs of set bits of `bytes`, whose first bit is block `firstBlock`, from block `start` to before `stop`. */
export function* runsOf(bytes: Uint8Array, firstBlock: number, start: number, stop: number): Generator<BlockRun> {
  let block = start;
  while (block < stop) {
    block = firstDiffering(bytes, firstBlock, block, stop, 0);
    if (block >= stop) return;
    const runEnd = firstDiffering(bytes, firstBlock, block, stop, 0xff);
    yield { start: block, count: runEnd - block };
    block = runEnd;
  }
}

/** The first block from `block` on whose bit differs from `same` (0 or 0xff); `stop` if there is none. */
function firstDiffering(bytes: Uint8Array, firstBlock: number, block: number, stop: number, same: 0 | 0xff): number {
  while (block < stop) {
    const bit = block - firstBlock;
    const byte = bytes[bit >> 3]!;
    if ((bit & 7) === 0 && byte === same) block += 8;
    else if (((byte >> (bit & 7)) & 1) !== (same & 1)) return block;
    else block += 1;
  }
  return Math.min(block, stop);
}
