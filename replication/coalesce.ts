/**
 * From the writes of a log, in order, to the parts of the disk that changed, each with the write that was last there.
 *
 * A sweep over the disk with a heap of the writes that cover the current place, the newest on top: O(n log n), about 40
 * bytes a write, whatever the size of the disk. The result is swept anew each time it is gone through rather than kept: a
 * million ranges as objects would take more memory than all else.
 */
import type { ChangeRange } from '../sites/ports.js';
import { recordBytes, type LogRecordKind } from './change-log-format.js';

/** Data ranges next to each other, on the disk and in the log, are joined up to this. */
export const MAX_JOINED_BYTES = 4 * 1024 * 1024;

const SECTOR_BYTES = 512;
/** A sort key is the first sector (37 bits: disks up to 64 TiB) above the index of the write (27 bits). */
const INDEX_BITS = 27;
const MAX_WRITES = 2 ** INDEX_BITS;
const MAX_SECTORS = 2 ** (64 - INDEX_BITS);

export interface LoggedWrite {
  readonly kind: LogRecordKind;
  /** Multiples of 512 bytes. */
  readonly offset: number;
  readonly length: number;
  /** Where its record begins in the log. */
  readonly position: number;
}

/** Takes the writes of one log in their order. */
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

  /** What is on the disk after the last write: sorted, without overlap, 512-aligned. Nothing may be added after. */
  coalesce(): Iterable<ChangeRange> {
    const order = this.#byStart();
    return { [Symbol.iterator]: () => this.#sweep(order) };
  }

  *#sweep(order: Uint32Array): Generator<ChangeRange, void, undefined> {
    const starts = this.#starts;
    const ends = this.#ends;
    const covering = new NewestFirst();
    const joiner = new Joiner(starts, ends, this.#positions);
    let next = 0;
    let at = 0;
    for (;;) {
      while (covering.size > 0 && ends[covering.newest]! <= at) covering.pop();
      if (covering.size === 0) {
        if (next === order.length) break;
        at = starts[order[next]!]!;
      }
      while (next < order.length && starts[order[next]!] === at) covering.push(order[next++]!);
      const newest = covering.newest;
      let stop = ends[newest]!;
      for (; next < order.length && starts[order[next]!]! < stop; next += 1) {
        const write = order[next]!;
        if (write > newest) {
          stop = starts[write]!;
          break;
        }
        // Older: seen only where it outlasts the newest.
        if (ends[write]! > stop) covering.push(write);
      }
      const complete = joiner.add(newest, at, stop);
      if (complete) yield complete;
      at = stop;
    }
    if (joiner.last) yield joiner.last;
  }

  /** Indexes of the writes by where they begin. */
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

/** Turns the pieces of the sweep into ranges, joining neighbours. */
class Joiner {
  #last: { offset: number; length: number; zero: boolean; position: number } | undefined;
  #lastWrite = 0;

  constructor(
    private readonly starts: Float64Array,
    private readonly ends: Float64Array,
    private readonly positions: Float64Array,
  ) {}

  /** The range that the next piece may still join. */
  get last(): ChangeRange | undefined {
    return this.#last;
  }

  /** @returns the range before, when this piece does not join it. */
  add(write: number, offset: number, stop: number): ChangeRange | undefined {
    const position = this.positions[write]!;
    const zero = position < 0;
    const last = this.#last;
    const joins =
      last?.zero === zero && last.offset + last.length === offset && (zero || this.#follows(write, offset, stop));
    if (joins) last.length = stop - last.offset;
    else this.#last = { offset, length: stop - offset, zero, position: Math.abs(position) };
    this.#lastWrite = write;
    return joins ? undefined : last;
  }

  /** Whether a reader that goes on in the log behind the last range's end finds this piece there. */
  #follows(write: number, offset: number, stop: number): boolean {
    const before = this.#lastWrite;
    const length = this.ends[before]! - this.starts[before]!;
    return (
      this.ends[before] === offset &&
      this.starts[write] === offset &&
      this.positions[write] === this.positions[before]! + recordBytes({ kind: 'data', length }) &&
      stop - this.#last!.offset <= MAX_JOINED_BYTES
    );
  }
}

/** A heap of indexes, the largest on top. */
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
