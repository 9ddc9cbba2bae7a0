/**
 * Coalesces the writes of a log of any length with bounded memory. Up to a limit, writes are held in memory. Beyond it,
 * they are coalesced in runs, which are stored in a temporary file (32 bytes for each piece of disk) and merged, the
 * newest on top, each time the result is iterated.
 *
 * The file is in the folder for temporary files (TMPDIR), never beside the disk, because emptying the logs must not
 * fill the guest's volume. It has no name, so it disappears with its process.
 */
import { closeSync, mkdtempSync, openSync, readSync, rmSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { CatalogueError } from '../domain/errors.js';
import type { ChangeRange } from '../ports/change-source.js';
import { joined, sweep, WriteIndex, type LoggedWrite, type Pieces } from './coalesce.js';

/** Writes of a run, which takes about 12 MiB while it is built. */
const RUN_WRITES = 256 * 1024;
/** Numbers of a piece in the file: start, end, position (negative for zeroes), and the missing parts of its write. */
const FIELDS = 4;
const PIECE_BYTES = FIELDS * 8;
/** Pieces read or written together, 64 KiB. */
const PIECES_AT_ONCE = 2048;
/**
 * The missing parts of a write are counted in sectors: those before the piece, plus this factor times those behind it.
 * A write of data has at most 2,048.
 */
const BEHIND = 4096;
const SECTOR_BYTES = 512;

interface Run {
  /** Where it begins in the file, bytes. */
  readonly offset: number;
  readonly pieces: number;
}

/** Collects the writes of one log in their order. Must be closed. */
export class CoalescedWrites {
  #index = new WriteIndex();
  #file: number | undefined;
  #fileBytes = 0;
  readonly #runs: Run[] = [];

  /** @param runWrites limit of writes held in memory. */
  constructor(private readonly runWrites = RUN_WRITES) {}

  /**
   * @throws CatalogueError SourceDiskFull if the folder for temporary files is full; RangeError for an impossible
   * write.
   */
  add(write: LoggedWrite): void {
    if (this.#index.count === this.runWrites) this.#spill();
    this.#index.add(write);
  }

  /**
   * The content of the disk after the last write: sorted, without overlap, 512-aligned. Nothing may be added
   * afterwards.
   */
  coalesce(): Iterable<ChangeRange> {
    if (this.#file === undefined) return this.#index.coalesce();
    if (this.#index.count > 0) this.#spill();
    return { [Symbol.iterator]: () => joined(new MergedRuns(this.#file!, this.#runs)) };
  }

  close(): void {
    if (this.#file !== undefined) closeSync(this.#file);
    this.#file = undefined;
  }

  /** Coalesces the writes in memory and appends them to the file. */
  #spill(): void {
    const pieces = this.#index.pieces();
    const { positions, writeStarts, writeEnds } = pieces;
    const run = { offset: this.#fileBytes, pieces: 0 };
    const page = new Float64Array(PIECES_AT_ONCE * FIELDS);
    let filled = 0;
    for (const { number, start, end } of sweep(pieces)) {
      const position = positions[number]!;
      page[filled++] = start;
      page[filled++] = end;
      page[filled++] = position;
      // Zeroes have no content, so the missing parts of their write do not matter.
      page[filled++] =
        position < 0
          ? 0
          : (start - writeStarts[number]!) / SECTOR_BYTES + ((writeEnds[number]! - end) / SECTOR_BYTES) * BEHIND;
      run.pieces += 1;
      if (filled === page.length) {
        this.#append(page);
        filled = 0;
      }
    }
    this.#append(page.subarray(0, filled));
    this.#runs.push(run);
    this.#index = new WriteIndex();
  }

  #append(page: Float64Array): void {
    const bytes = Buffer.from(page.buffer, page.byteOffset, page.byteLength);
    try {
      this.#file ??= openNameless();
      for (let written = 0; written < bytes.length;) {
        written += writeSync(this.#file, bytes, written, bytes.length - written, this.#fileBytes + written);
      }
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code !== 'ENOSPC' && code !== 'EDQUOT') throw error;
      throw new CatalogueError(
        'SourceDiskFull',
        `${tmpdir()}: no room for the index of a large backlog of writes (${this.#fileBytes} bytes so far); ` +
          'free space there, or set TMPDIR to another folder',
        { cause: error },
      );
    }
    this.#fileBytes += bytes.length;
  }
}

function openNameless(): number {
  const folder = mkdtempSync(path.join(tmpdir(), 'farshore-'));
  try {
    return openSync(path.join(folder, 'runs'), 'wx+', 0o600);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** The pieces of all runs; a piece has the number of its run. */
class MergedRuns implements Pieces {
  readonly starts: Float64Array;
  readonly ends: Float64Array;
  readonly positions: Float64Array;
  readonly writeStarts: Float64Array;
  readonly writeEnds: Float64Array;
  readonly #readers: RunReader[];
  /** Numbers of the runs that have a next piece: a heap with the one that begins first on top. */
  readonly #queue: number[];

  constructor(file: number, runs: readonly Run[]) {
    const column = () => new Float64Array(runs.length);
    [this.starts, this.ends, this.positions] = [column(), column(), column()];
    [this.writeStarts, this.writeEnds] = [column(), column()];
    this.#readers = runs.map((run) => new RunReader(file, run));
    this.#queue = runs.flatMap(({ pieces }, number) => (pieces > 0 ? [number] : []));
    for (let place = this.#queue.length >> 1; place >= 0; place -= 1) this.#sink(place);
  }

  get nextStart(): number {
    const next = this.#queue[0];
    return next === undefined ? Infinity : this.#readers[next]!.start;
  }

  get nextNumber(): number {
    return this.#queue[0]!;
  }

  take(): number {
    const number = this.#queue[0]!;
    const reader = this.#readers[number]!;
    const { start, end, lacking } = reader;
    this.starts[number] = start;
    this.ends[number] = end;
    this.positions[number] = reader.position;
    this.writeStarts[number] = start - (lacking % BEHIND) * SECTOR_BYTES;
    this.writeEnds[number] = end + Math.floor(lacking / BEHIND) * SECTOR_BYTES;
    if (!reader.next()) {
      const last = this.#queue.pop()!;
      if (this.#queue.length > 0) this.#queue[0] = last;
    }
    this.#sink(0);
    return number;
  }

  /** Moves the entry at this place down to its position in the heap. */
  #sink(from: number): void {
    const queue = this.#queue;
    const startAt = (place: number) => this.#readers[queue[place]!]!.start;
    for (let place = from; ;) {
      let first = place;
      for (const child of [place * 2 + 1, place * 2 + 2]) {
        if (child < queue.length && startAt(child) < startAt(first)) first = child;
      }
      if (first === place) return;
      [queue[place], queue[first]] = [queue[first]!, queue[place]!];
      place = first;
    }
  }
}

/** Iterates over one run, beginning at its first piece. */
class RunReader {
  readonly #page: Float64Array;
  readonly #bytes: Buffer;
  #at = 0;
  #inPage = 0;
  #read = 0;

  constructor(
    private readonly file: number,
    private readonly run: Run,
  ) {
    this.#page = new Float64Array(Math.min(PIECES_AT_ONCE, run.pieces) * FIELDS);
    this.#bytes = Buffer.from(this.#page.buffer);
    if (run.pieces > 0) this.#fill();
  }

  get start(): number {
    return this.#page[this.#at]!;
  }

  get end(): number {
    return this.#page[this.#at + 1]!;
  }

  get position(): number {
    return this.#page[this.#at + 2]!;
  }

  /** Missing sectors of its write: those before the piece, plus `BEHIND` times those behind it. */
  get lacking(): number {
    return this.#page[this.#at + 3]!;
  }

  /** @returns false after the last. */
  next(): boolean {
    this.#at += FIELDS;
    if (this.#at < this.#inPage * FIELDS) return true;
    return this.#read < this.run.pieces && this.#fill();
  }

  #fill(): boolean {
    this.#inPage = Math.min(PIECES_AT_ONCE, this.run.pieces - this.#read);
    const wanted = this.#inPage * PIECE_BYTES;
    for (let filled = 0; filled < wanted;) {
      const from = this.run.offset + this.#read * PIECE_BYTES + filled;
      const bytes = readSync(this.file, this.#bytes, filled, wanted - filled, from);
      if (bytes === 0) throw new Error('the index of a backlog of writes ends before it should');
      filled += bytes;
    }
    this.#read += this.#inPage;
    this.#at = 0;
    return true;
  }
}
