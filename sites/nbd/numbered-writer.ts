/**
 * A workload that can be verified afterwards: blocks numbered 1, 2, 3, … are written to a region again and again, each
 * after the previous one is acknowledged. A copy of the disk at any instant must contain, for some N, exactly the
 * blocks 1 to N: missing, older, foreign and torn blocks are found.
 *
 * A block has 4 KiB: magic "FSNUMBER", number u64, id of the disk (32 bytes, UTF-8, padded with zeroes), bytes derived
 * from the number, crc32 u32 of everything before. Little-endian.
 */
import { crc32 } from 'node:zlib';
import { end, type Range } from '../../domain/ranges.js';

export const NUMBERED_BLOCK_BYTES = 4096;
const MAGIC = 'FSNUMBER';
const ID_BYTES = 32;
const CONTENT_AT = 16 + ID_BYTES;
const CRC_AT = NUMBERED_BLOCK_BYTES - 4;
/**
 * Consecutive numbers are this many slots apart, so that a copy made from front to back does not look like a valid
 * order.
 */
const STRIDE = 7919;

/** A target for writing blocks, for example an `NbdGuest`. */
export interface BlockTarget {
  write(data: Buffer, offset: number): Promise<void>;
  flush(): Promise<void>;
}

/** A source for reading them, for example a guest, a disk, or a function over a store's page blob. */
export interface BlockSource {
  read(target: Buffer, offset: number): Promise<void>;
}

export interface NumberedReport {
  /** The newest number found; 0 if there is none. */
  readonly last: number;
  /** Differences from the state after writing exactly the blocks 1 to `last`; at most 20 are named. */
  readonly faults: readonly string[];
}

export class NumberedWriter {
  #acknowledged: number;
  #flushed: number;

  /** @param diskId at most 32 bytes. @param region 4 KiB-aligned. @param after the number after which to continue. */
  constructor(
    private readonly target: BlockTarget,
    readonly diskId: string,
    readonly region: Range,
    after = 0,
  ) {
    if (slotsOf(region) < 1) throw new RangeError(`a region of ${region.length} bytes has no room for a block`);
    this.#acknowledged = after;
    this.#flushed = after;
  }

  /** Continues after the newest existing block. */
  static async resume(disk: BlockTarget & BlockSource, diskId: string, region: Range): Promise<NumberedWriter> {
    const { last } = await verifyNumbered(disk, diskId, region);
    return new NumberedWriter(disk, diskId, region, last);
  }

  /** The newest number that was acknowledged. */
  get acknowledged(): number {
    return this.#acknowledged;
  }

  /** The newest number that a flush covers. */
  get flushed(): number {
    return this.#flushed;
  }

  /** Writes the next block. Do not call it again before it has resolved. @returns its number. */
  async writeNext(): Promise<number> {
    const number = this.#acknowledged + 1;
    await this.target.write(numberedBlock(number, this.diskId), positionOf(number, this.region));
    this.#acknowledged = number;
    return number;
  }

  async flush(): Promise<void> {
    const covered = this.#acknowledged;
    await this.target.flush();
    this.#flushed = covered;
  }

  /** Writes blocks, with a flush after every `flushEvery`, until `goOn` returns false. @returns the newest number. */
  async run(goOn: () => boolean, options: { flushEvery?: number } = {}): Promise<number> {
    const flushEvery = options.flushEvery ?? 64;
    while (goOn()) {
      const number = await this.writeNext();
      if (number % flushEvery === 0) await this.flush();
    }
    return this.#acknowledged;
  }
}

/** Reads a region, and returns the newest number and the faults. */
export async function verifyNumbered(source: BlockSource, diskId: string, region: Range): Promise<NumberedReport> {
  const faults: string[] = [];
  const fault = (text: string) => void (faults.length < 20 && faults.push(text));
  const slots = slotsOf(region);
  const found = new Float64Array(slots);
  const buffer = Buffer.alloc(Math.min(256, slots) * NUMBERED_BLOCK_BYTES);
  for (let slot = 0; slot < slots;) {
    const piece = buffer.subarray(0, Math.min(buffer.length, (slots - slot) * NUMBERED_BLOCK_BYTES));
    await source.read(piece, region.offset + slot * NUMBERED_BLOCK_BYTES);
    for (let at = 0; at < piece.length; at += NUMBERED_BLOCK_BYTES, slot += 1) {
      const read = parseBlock(piece.subarray(at, at + NUMBERED_BLOCK_BYTES), diskId);
      if (typeof read === 'number') found[slot] = read;
      else fault(`byte ${region.offset + slot * NUMBERED_BLOCK_BYTES}: ${read}`);
    }
  }
  const last = found.reduce((newest, number) => Math.max(newest, number), 0);
  // Number n is in slot (n - 1) * step, so the newest `slots` numbers fill every slot once.
  for (let number = Math.max(1, last - slots + 1); number <= Math.max(last, slots); number += 1) {
    const position = positionOf(number, region);
    const holds = found[(position - region.offset) / NUMBERED_BLOCK_BYTES]!;
    const expected = number <= last ? number : 0;
    if (holds !== expected) fault(`byte ${position}: block ${holds || 'none'} instead of ${expected || 'none'}`);
  }
  return { last, faults };
}

export function numberedBlock(number: number, diskId: string): Buffer {
  const block = Buffer.alloc(NUMBERED_BLOCK_BYTES);
  const id = Buffer.from(diskId, 'utf8');
  if (id.length > ID_BYTES) throw new RangeError(`a disk id has at most ${ID_BYTES} bytes: ${diskId}`);
  block.write(MAGIC, 0, 'latin1');
  block.writeBigUInt64LE(BigInt(number), 8);
  id.copy(block, 16);
  const content = Buffer.alloc(8);
  content.writeBigUInt64LE((BigInt(number) * 0x9e3779b97f4a7c15n) & 0xffff_ffff_ffff_ffffn);
  block.fill(content, CONTENT_AT, CRC_AT);
  block.writeUInt32LE(crc32(block.subarray(0, CRC_AT)), CRC_AT);
  return block;
}

/** @returns the number, 0 for a block never written, or a description of the fault. */
function parseBlock(block: Buffer, diskId: string): number | string {
  if (block.readUInt32LE(0) === 0 && block.equals(Buffer.alloc(block.length))) return 0;
  if (block.toString('latin1', 0, 8) !== MAGIC) return 'not a numbered block';
  if (crc32(block.subarray(0, CRC_AT)) !== block.readUInt32LE(CRC_AT)) return 'a torn or damaged block';
  const id = block.toString('utf8', 16, CONTENT_AT).replace(/\0+$/, '');
  if (id !== diskId) return `a block of disk "${id}"`;
  return Number(block.readBigUInt64LE(8));
}

const slotsOf = (region: Range): number => Math.floor(region.length / NUMBERED_BLOCK_BYTES);

/** Byte offset of a number's block. */
function positionOf(number: number, region: Range): number {
  const slots = slotsOf(region);
  const step = slots % STRIDE === 0 ? 1 : STRIDE;
  const position = region.offset + (((number - 1) * step) % slots) * NUMBERED_BLOCK_BYTES;
  if (position + NUMBERED_BLOCK_BYTES > end(region)) throw new RangeError(`block ${number} is outside of the region`);
  return position;
}
