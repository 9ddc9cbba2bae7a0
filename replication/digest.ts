/**
 * Digests with which both sites prove to each other that they hold the same bytes: the blake3 of each 64 KiB block of a
 * slice, and none for a block of zeroes. A hole, a run of zeroes and a cleared page all count as the same, so digests do
 * not depend on how either site stores zeroes.
 *
 * In the store they are one object for each slice:
 *   1. a bitmap, one bit a block from the lowest bit of the first byte on, set for the blocks that are not all zeroes,
 *   2. 32 bytes for each of those, in order: blake3 of its content (the last block may be shorter),
 *   3. 32 bytes: blake3 over 1, 2, and offset and length of the slice, two 64-bit little-endian numbers of bytes.
 */
import { blake3, Blake3Hasher } from '@napi-rs/blake-hash';
import { isZero } from '../disks/zeroes.js';
import { alignDown, alignUp, end, mergeRanges, splitRange, type Range } from '../domain/ranges.js';

/** Bytes. The granularity at which zeroes are distinguished from data; blocks start at multiples of it. */
export const BLOCK_SIZE = 64 * 1024;
const DIGEST_BYTES = 32;

/** The whole blocks that `ranges` touch; only the last block of the slice may be shorter. */
export function wholeBlocks(ranges: readonly Range[], slice: Range): Range[] {
  const blocks: { offset: number; length: number }[] = [];
  for (const range of mergeRanges(ranges)) {
    const offset = alignDown(range.offset, BLOCK_SIZE);
    const stop = Math.min(alignUp(end(range), BLOCK_SIZE), end(slice));
    const last = blocks.at(-1);
    if (last && offset <= end(last)) last.length = stop - last.offset;
    else blocks.push({ offset, length: stop - offset });
  }
  return blocks;
}

/** Computes the digests of one slice; blocks that are not added count as zeroes. */
export class SliceDigests {
  /** `DIGEST_BYTES` for each block; all zeroes for a block of zeroes, because no content has that digest. */
  readonly #digests: Buffer;

  /** @param slice starts at a multiple of `BLOCK_SIZE`. */
  constructor(private readonly slice: Range) {
    if (slice.offset % BLOCK_SIZE !== 0) throw new RangeError(`slice at ${slice.offset} is not on a block boundary`);
    this.#digests = Buffer.alloc(Math.ceil(slice.length / BLOCK_SIZE) * DIGEST_BYTES);
  }

  /**
   * @param offset on the disk, a multiple of `BLOCK_SIZE`. @param data whole blocks; only the last block of the slice
   * may be shorter.
   * @returns the parts of `data` that are not zeroes, as ranges of the disk.
   */
  add(data: Buffer, offset: number): Range[] {
    const given = { offset, length: data.length };
    this.#checkBlocks(given);
    const runs: { offset: number; length: number }[] = [];
    for (const block of splitRange(given, BLOCK_SIZE)) {
      const from = block.offset - offset;
      const content = data.subarray(from, from + block.length);
      const digest = this.#of(block);
      if (isZero(content)) {
        digest.fill(0);
        continue;
      }
      blake3(content).copy(digest);
      const last = runs.at(-1);
      if (last && end(last) === block.offset) last.length += block.length;
      else runs.push({ ...block });
    }
    return runs;
  }

  /** @param within whole blocks. @returns the blocks within it that differ, adjacent ones joined. */
  differing(other: SliceDigests, within: Range = this.slice): Range[] {
    this.#checkBlocks(within);
    const blocks = [...splitRange(within, BLOCK_SIZE)];
    return mergeRanges(blocks.filter((block) => !this.#of(block).equals(other.#of(block))));
  }

  /** The object in the format above. */
  encode(): Buffer {
    const blocks = [...splitRange(this.slice, BLOCK_SIZE)];
    const bitmap = Buffer.alloc(Math.ceil(blocks.length / 8));
    const digests = blocks.flatMap((block, index) => {
      const digest = this.#of(block);
      if (isZero(digest)) return [];
      bitmap[index >> 3]! |= 1 << (index & 7);
      return [digest];
    });
    return sealed(Buffer.concat([bitmap, ...digests]), this.slice);
  }

  /** @returns undefined if the object is damaged, or belongs to another slice. */
  static decode(slice: Range, object: Buffer): SliceDigests | undefined {
    const content = object.subarray(0, Math.max(object.length - DIGEST_BYTES, 0));
    if (!sealed(content, slice).equals(object)) return undefined;
    const decoded = new SliceDigests(slice);
    let at = Math.ceil(decoded.#digests.length / DIGEST_BYTES / 8);
    for (const [index, block] of [...splitRange(slice, BLOCK_SIZE)].entries()) {
      if ((content[index >> 3]! & (1 << (index & 7))) === 0) continue;
      at += content.copy(decoded.#of(block), 0, at, at + DIGEST_BYTES);
    }
    return decoded;
  }

  #of(block: Range): Buffer {
    const at = ((block.offset - this.slice.offset) / BLOCK_SIZE) * DIGEST_BYTES;
    return this.#digests.subarray(at, at + DIGEST_BYTES);
  }

  #checkBlocks(range: Range): void {
    const stop = end(range);
    const whole = range.offset % BLOCK_SIZE === 0 && (stop % BLOCK_SIZE === 0 || stop === end(this.slice));
    if (whole && range.offset >= this.slice.offset && stop <= end(this.slice)) return;
    throw new RangeError(`${range.length} bytes at ${range.offset} are no whole blocks of the slice`);
  }
}

function sealed(content: Buffer, slice: Range): Buffer {
  const place = Buffer.alloc(16);
  place.writeBigUInt64LE(BigInt(slice.offset), 0);
  place.writeBigUInt64LE(BigInt(slice.length), 8);
  return Buffer.concat([content, new Blake3Hasher().update(content).update(place).digestBuffer()]);
}
