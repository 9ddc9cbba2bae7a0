/**
 * Fills buffers with scattered ranges, so that they take no more memory and no more parallel requests than contiguous
 * data.
 */
import { end, type Range } from '../domain/ranges.js';

/** @param size of a buffer, bytes. @returns for each buffer the ranges that it holds, in order and without gaps. */
export function* packs(ranges: readonly Range[], size: number): Generator<Range[]> {
  let pack: Range[] = [];
  let free = size;
  for (const range of ranges) {
    for (let offset = range.offset; offset < end(range);) {
      const length = Math.min(free, end(range) - offset);
      pack.push({ offset, length });
      offset += length;
      free -= length;
      if (free > 0) continue;
      yield pack;
      pack = [];
      free = size;
    }
  }
  if (pack.length > 0) yield pack;
}
