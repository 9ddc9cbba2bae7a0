/**
 * Digests by which both sides prove to each other that they hold the same bytes.
 *
 * A slice's digest is blake3 over
 *   1. the content of every 64 KiB block of the slice that is not all zeroes, in order (the last may be shorter),
 *   2. a bitmap, one bit a block from the lowest bit of the first byte on, set for the blocks hashed in 1,
 *   3. offset and length of the slice, two 64-bit little-endian numbers of bytes.
 * Read from its end this can be taken apart in only one way, so two different slices cannot share an input; and as a
 * hole, a run of zeroes and a cleared page all are the same unset bit, it does not depend on how either side stores
 * zeroes, and holes cost nothing.
 */
import { Blake3Hasher } from '@napi-rs/blake-hash';
import { alignDown, alignUp, end, mergeRanges, type Range } from '../domain/ranges.js';

/** Bytes. The granularity at which zeroes are told from data; blocks start at multiples of it. */
export const BLOCK_SIZE = 64 * 1024;

const zeroes = Buffer.alloc(BLOCK_SIZE);

export const isZero = (block: Buffer): boolean =>
  block.equals(block.length === BLOCK_SIZE ? zeroes : zeroes.subarray(0, block.length));

/**
 * The whole blocks that `ranges` touch, but for the last block, which ends with the slice.
 * @param bridge joins what is not further apart than this, bytes: reading on may be cheaper than beginning again.
 */
export function wholeBlocks(ranges: readonly Range[], slice: Range, bridge = 0): Range[] {
  const blocks = ranges.map((range) => {
    const offset = alignDown(range.offset, BLOCK_SIZE);
    return { offset, length: Math.min(alignUp(end(range), BLOCK_SIZE) + bridge, end(slice)) - offset };
  });
  return mergeRanges(blocks);
}

/** Takes in the content of one slice, in rising order; what it is not given counts as zeroes. */
export class SliceDigest {
  readonly #hasher = new Blake3Hasher();
  readonly #bitmap: Buffer;
  readonly #slice: Range;
  #next: number;

  /** @param slice starts at a multiple of `BLOCK_SIZE`. */
  constructor(slice: Range) {
    if (slice.offset % BLOCK_SIZE !== 0) throw new RangeError(`slice at ${slice.offset} is not on a block boundary`);
    this.#slice = slice;
    this.#next = slice.offset;
    this.#bitmap = Buffer.alloc(Math.ceil(Math.ceil(slice.length / BLOCK_SIZE) / 8));
  }

  /**
   * @param offset on the disk, a multiple of `BLOCK_SIZE`, not before the end of the data added last.
   * @param data whole blocks, but for the last block of the slice.
   * @returns the parts of `data` that are not zeroes, as ranges of the disk.
   */
  add(data: Buffer, offset: number): Range[] {
    const stop = offset + data.length;
    if (offset < this.#next || offset % BLOCK_SIZE !== 0 || stop > end(this.#slice)) {
      throw new RangeError(`data at ${offset} (${data.length} bytes) does not continue the slice`);
    }
    if (stop % BLOCK_SIZE !== 0 && stop !== end(this.#slice))
      throw new RangeError(`data ends inside a block, at ${stop}`);
    this.#next = stop;
    const runs: Range[] = [];
    let runStart = -1;
    for (let at = offset; at < stop; at += BLOCK_SIZE) {
      const zero = isZero(data.subarray(at - offset, Math.min(at + BLOCK_SIZE, stop) - offset));
      if (zero && runStart >= 0) {
        runs.push({ offset: runStart, length: at - runStart });
        runStart = -1;
      } else if (!zero) {
        if (runStart < 0) runStart = at;
        const block = (at - this.#slice.offset) / BLOCK_SIZE;
        this.#bitmap[block >> 3]! |= 1 << (block & 7);
      }
    }
    if (runStart >= 0) runs.push({ offset: runStart, length: stop - runStart });
    for (const run of runs) this.#hasher.update(data.subarray(run.offset - offset, end(run) - offset));
    return runs;
  }

  /** @returns the digest, hex. Nothing can be added after. */
  finish(): string {
    const place = Buffer.alloc(16);
    place.writeBigUInt64LE(BigInt(this.#slice.offset), 0);
    place.writeBigUInt64LE(BigInt(this.#slice.length), 8);
    this.#next = Infinity;
    return this.#hasher.update(this.#bitmap).update(place).digest('hex');
  }
}
