/** Copies parts of one disk to the same place on another, with bounded memory. */
import { end, splitRange, type Range } from '../domain/ranges.js';
import type { ReadableDisk, VirtualDisk } from './disk.js';

const BUFFER_BYTES = 1024 * 1024;

/** Copies every byte. */
export async function copyRange(range: Range, from: ReadableDisk, to: VirtualDisk): Promise<void> {
  for (const piece of splitRange(range, BUFFER_BYTES)) {
    const buffer = Buffer.allocUnsafe(piece.length);
    await from.read(buffer, piece.offset);
    await to.write(buffer, piece.offset);
  }
}

/** Copies ranges that may contain data and zeroes the rest, so that holes stay holes. */
export async function copySparseRange(range: Range, from: ReadableDisk, to: VirtualDisk): Promise<void> {
  let copied = range.offset;
  for (const data of await from.dataRanges(range)) {
    if (data.offset > copied) await to.writeZeroes({ offset: copied, length: data.offset - copied });
    await copyRange(data, from, to);
    copied = end(data);
  }
  if (copied < end(range)) await to.writeZeroes({ offset: copied, length: end(range) - copied });
}
