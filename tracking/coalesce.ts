/**
 * Turns the writes of a log, in order, into the parts of the disk that changed, each with the last write to it.
 *
 * It sweeps over the disk with a heap of the writes that cover the current place, the newest on top: O(n log n), about
 * 40 bytes for each write, whatever the size of the disk. The ranges are computed again for each iteration instead of
 * being stored: a million objects would take more memory than everything else.
 */
import type { ChangeRange } from '../ports/change-source.js';
import { recordBytes, type LogRecordKind } from './change-log-record.js';

/** Data ranges that are adjacent both on the disk and in the log are joined up to this size. */
export const MAX_JOINED_BYTES = 4 * 1024 * 1024;

const SECTOR_BYTES = 512;
/** A sort key consists of the first sector (37 bits: disks up to 64 TiB) above the index of the write (27 bits). */
const INDEX_BITS = 27;
const MAX_WRITES = 2 ** INDEX_BITS;
const MAX_SECTORS = 2 ** (64 - INDEX_BITS);

export interface LoggedWrite {
  readonly kind: LogRecordKind;
  /** Multiples of 512 bytes. */
  readonly offset: number;
  readonly length: number;
  /** Position of its record in the log. */
  readonly position: number;
}

/**
 * Pieces of writes, identified by numbers, in the order of their beginnings. Where two cover the same place, the higher
 * number wins. The number of a piece that has been passed may be reused.
 */
export interface Pieces {
  readonly starts: Float64Array;
  readonly ends: Float64Array;
  /** Position of the write's record; negative for zeroes. */
  readonly positions: Float64Array;
  /** The write that the piece is a part of. */
  readonly writeStarts: Float64Array;
  readonly writeEnds: Float64Array;
  /** Where the next piece begins; Infinity after the last. */
  readonly nextStart: number;
  /** Number that the next piece has or will have. */
  readonly nextNumber: number;
  /** Advances to the piece after the next. @returns the number of the next. */
  take(): number;
}

/** The visible part of a piece; its number identifies the write. */
export interface SeenPiece {
  readonly number: number;
  readonly start: number;
  readonly end: number;
}

/** Collects the writes of one log in their order. */
export class WriteIndex {
  #count = 0;
  #starts = new Float64Array(1024);
  #ends = new Float64Array(1024);
  /** Negative for zeroes. */
  #positions = new Float64Array(1024);

  get count(): number {
    return this.#count;
  }

  add(write: LoggedWrite): void {
    if (write.offset % SECTOR_BYTES !== 0 || write.length % SECTOR_BYTES !== 0 || write.length <= 0) {
      throw new RangeError(`a write of ${write.length} bytes at ${write.offset} is not made of sectors`);
    }
    if (this.#count === this.#starts.length) this.#grow();
    const index = this.#count++;
    if (this.#count > MAX_WRITES) throw new RangeError(`more than ${MAX_WRITES} writes`);
    this.#starts[index] = write.offset;
    this.#ends[index] = write.offset + write.length;
    this.#positions[index] = write.kind === 'zero' ? -write.position : write.position;
  }

  /**
   * The content of the disk after the last write: sorted, without overlap, 512-aligned. Nothing may be added
   * afterwards.
   */
  coalesce(): Iterable<ChangeRange> {
    const order = this.#byStart();
    return { [Symbol.iterator]: () => joined(this.#inOrder(order)) };
  }

  /** All pieces in the order of their beginnings; can be used once. */
  pieces(): Pieces {
    return this.#inOrder(this.#byStart());
  }

  #inOrder(order: Uint32Array): Pieces {
    const [starts, ends, positions] = [this.#starts, this.#ends, this.#positions];
    let next = 0;
    return {
      ...{ starts, ends, positions, writeStarts: starts, writeEnds: ends },
      get nextStart() {
        return next < order.length ? starts[order[next]!]! : Infinity;
      },
      get nextNumber() {
        return order[next]!;
      },
      take: () => order[next++]!,
    };
  }

  /** Indexes of the writes, sorted by their beginnings. */
  #byStart(): Uint32Array {
    const count = this.#count;
    // Plain numbers sort natively, without a comparator; the upper half is filled through 32-bit views.
    const keys = new BigUint64Array(count);
    const halves = new DataView(keys.buffer);
    for (let index = 0; index < count; index += 1) {
      const sector = this.#starts[index]! / SECTOR_BYTES;
      if (sector >= MAX_SECTORS) throw new RangeError(`offset ${this.#starts[index]} is past 64 TiB`);
      const low = (sector % 2 ** (32 - INDEX_BITS)) * MAX_WRITES + index;
      const high = Math.floor(sector / 2 ** (32 - INDEX_BITS));
      halves.setUint32(index * 8 + (LITTLE_ENDIAN ? 0 : 4), low, LITTLE_ENDIAN);
      halves.setUint32(index * 8 + (LITTLE_ENDIAN ? 4 : 0), high, LITTLE_ENDIAN);
    }
    keys.sort();
    const order = new Uint32Array(count);
    for (let place = 0; place < count; place += 1) {
      order[place] = halves.getUint32(place * 8 + (LITTLE_ENDIAN ? 0 : 4), LITTLE_ENDIAN) % MAX_WRITES;
    }
    return order;
  }

  #grow(): void {
    const size = Math.ceil(this.#starts.length * 1.5);
    const grown = (column: Float64Array): Float64Array<ArrayBuffer> => {
      const larger = new Float64Array(size);
      larger.set(column);
      return larger;
    };
    this.#starts = grown(this.#starts);
    this.#ends = grown(this.#ends);
    this.#positions = grown(this.#positions);
  }
}

const LITTLE_ENDIAN = new Uint8Array(new Uint16Array([1]).buffer)[0] === 1;

/** The content of the disk as ranges, with adjacent ones joined. */
export function* joined(pieces: Pieces): Generator<ChangeRange, void, undefined> {
  const joiner = new Joiner(pieces);
  for (const piece of sweep(pieces)) {
    const complete = joiner.add(piece);
    if (complete) yield complete;
  }
  if (joiner.last) yield joiner.last;
}

/** The visible parts of the pieces, in order. A yielded object is overwritten when the next one is requested. */
export function* sweep(pieces: Pieces): Generator<SeenPiece, void, undefined> {
  const { ends } = pieces;
  const covering = new NewestFirst();
  const seen = { number: 0, start: 0, end: 0 };
  let at = 0;
  for (;;) {
    while (covering.size > 0 && ends[covering.newest]! <= at) covering.pop();
    if (covering.size === 0) {
      if (pieces.nextStart === Infinity) break;
      at = pieces.nextStart;
    }
    while (pieces.nextStart === at) covering.push(pieces.take());
    const newest = covering.newest;
    let stop = ends[newest]!;
    while (pieces.nextStart < stop) {
      if (pieces.nextNumber > newest) {
        stop = pieces.nextStart;
        break;
      }
      // An older piece is visible only where it extends beyond the newest.
      const older = pieces.take();
      if (ends[older]! > stop) covering.push(older);
    }
    seen.number = newest;
    seen.start = at;
    seen.end = stop;
    yield seen;
    at = stop;
  }
}

/** Turns the pieces of the sweep into ranges, joining adjacent ones. */
class Joiner {
  #last: { offset: number; length: number; zero: boolean; position: number } | undefined;
  /** Of the previous piece's write: where it ends on the disk, and where the record after its own begins in the log. */
  #lastWriteEnd = 0;
  #recordBehind = 0;

  constructor(private readonly pieces: Pieces) {}

  /** The range that the next piece may still join. */
  get last(): ChangeRange | undefined {
    return this.#last;
  }

  /** @returns the previous range if this piece does not join it. */
  add({ number, start: offset, end: stop }: SeenPiece): ChangeRange | undefined {
    const position = this.pieces.positions[number]!;
    const zero = position < 0;
    const last = this.#last;
    const joins =
      last?.zero === zero && last.offset + last.length === offset && (zero || this.#follows(number, offset, stop));
    if (joins) last.length = stop - last.offset;
    else this.#last = { offset, length: stop - offset, zero, position: Math.abs(position) };
    this.#lastWriteEnd = this.pieces.writeEnds[number]!;
    const length = this.#lastWriteEnd - this.pieces.writeStarts[number]!;
    this.#recordBehind = zero ? 0 : position + recordBytes({ kind: 'data', length });
    return joins ? undefined : last;
  }

  /** Whether a reader that continues in the log after the last range finds this piece there. */
  #follows(number: number, offset: number, stop: number): boolean {
    return (
      this.#lastWriteEnd === offset &&
      this.pieces.writeStarts[number] === offset &&
      this.pieces.positions[number] === this.#recordBehind &&
      stop - this.#last!.offset <= MAX_JOINED_BYTES
    );
  }
}

/** A heap of indexes with the largest on top. */
class NewestFirst {
  size = 0;
  #heap = new Uint32Array(1024);

  get newest(): number {
    return this.#heap[0]!;
  }

  push(index: number): void {
    if (this.size === this.#heap.length) {
      const larger = new Uint32Array(this.size * 2);
      larger.set(this.#heap);
      this.#heap = larger;
    }
    const heap = this.#heap;
    let place = this.size++;
    while (place > 0) {
      const parent = (place - 1) >> 1;
      if (heap[parent]! >= index) break;
      heap[place] = heap[parent]!;
      place = parent;
    }
    heap[place] = index;
  }

  pop(): void {
    const heap = this.#heap;
    const moved = heap[--this.size]!;
    let place = 0;
    for (;;) {
      let child = place * 2 + 1;
      if (child >= this.size) break;
      if (child + 1 < this.size && heap[child + 1]! > heap[child]!) child += 1;
      if (heap[child]! <= moved) break;
      heap[place] = heap[child]!;
      place = child;
    }
    heap[place] = moved;
  }
}
