/**
 * The change file: the changes of one cycle to one disk, as they are stored. Numbers are little-endian.
 *
 *   0         payload: the content of the rows that have content, in row order
 *   ...       rows, 20 bytes each, sorted by offset, without overlap:
 *               8  offset, bytes
 *               8  length, bytes; plus one if the range is all zeroes and has no payload
 *               4  crc32 of the content; 0 for zeroes
 *   ...       footer, 512 bytes:
 *   0    8      `FARCHNG1`
 *   8    4      bytes of this footer, 512
 *   12   4      bytes of a row, 20
 *   16   8      epoch
 *   24   8      sequence
 *   32   8      size of the source disk, bytes
 *   40   8      number of rows
 *   48   8      bytes of the payload
 *   56   64     VM: a byte with the length of the name, the name, zeroes
 *   120  64     disk: likewise
 *   184  328    zeroes
 *
 * Offsets and lengths are multiples of 512. Rows and footer come last, because the checksums and the zeroes in the content
 * are known only then; so the file can be written as a stream and read in pieces. The digest in the manifest proves that
 * it is the file that was sent; the checksums find damage between that proof and the use of the content.
 */
import { CatalogueError } from '../domain/errors.js';
import type { Range } from '../domain/ranges.js';

export const FOOTER_BYTES = 512;
export const ROW_BYTES = 20;
/** Longer ranges take several rows, so that the content of one row fits in memory. */
export const MAX_ROW_DATA = 4 * 1024 * 1024;
const MAGIC = 'FARCHNG1';
const NAME_BYTES = 64;

/** Identifies the cycle and disk of a change file. */
export interface ChangeFileIdentity {
  readonly vm: string;
  readonly disk: string;
  readonly epoch: number;
  readonly sequence: number;
  /** Virtual size of the source disk, bytes. */
  readonly diskSize: number;
}

export interface ChangeFileFooter extends ChangeFileIdentity {
  readonly rows: number;
  /** Bytes. */
  readonly payload: number;
}

export interface ChangeRow extends Range {
  readonly zero: boolean;
  readonly crc: number;
}

export const changeFileLength = (footer: ChangeFileFooter): number =>
  FOOTER_BYTES + footer.payload + footer.rows * ROW_BYTES;

export function encodeFooter(footer: ChangeFileFooter): Buffer {
  const buffer = Buffer.alloc(FOOTER_BYTES);
  buffer.write(MAGIC, 0, 'latin1');
  buffer.writeUInt32LE(FOOTER_BYTES, 8);
  buffer.writeUInt32LE(ROW_BYTES, 12);
  const numbers = [footer.epoch, footer.sequence, footer.diskSize, footer.rows, footer.payload];
  for (const [index, number] of numbers.entries()) writeUInt64(buffer, 16 + index * 8, number);
  writeName(buffer, 56, footer.vm);
  writeName(buffer, 120, footer.disk);
  return buffer;
}

/** @throws CatalogueError LogBroken if it is not a footer of this format. */
export function decodeFooter(buffer: Buffer): ChangeFileFooter {
  const broken = (problem: string) => new CatalogueError('LogBroken', `change file: ${problem}`);
  if (buffer.length < FOOTER_BYTES) throw broken('its footer is cut off');
  if (buffer.toString('latin1', 0, 8) !== MAGIC) throw broken('it does not end as one');
  if (buffer.readUInt32LE(8) !== FOOTER_BYTES || buffer.readUInt32LE(12) !== ROW_BYTES) throw broken('unknown layout');
  const [epoch, sequence, diskSize, rows, payload] = [0, 1, 2, 3, 4].map((index) => {
    const number = readUInt64(buffer, 16 + index * 8);
    if (!Number.isSafeInteger(number)) throw broken('impossible number in its footer');
    return number;
  }) as [number, number, number, number, number];
  const footer = { vm: readName(buffer, 56), disk: readName(buffer, 120), epoch, sequence, diskSize, rows, payload };
  if (!encodeFooter(footer).equals(buffer.subarray(0, FOOTER_BYTES))) throw broken('its footer is damaged');
  return footer;
}

export function encodeRow(target: Buffer, at: number, row: ChangeRow): void {
  writeUInt64(target, at, row.offset);
  writeUInt64(target, at + 8, row.length + (row.zero ? 1 : 0));
  target.writeUInt32LE(row.crc, at + 16);
}

export function decodeRow(source: Buffer, at: number): ChangeRow {
  const coded = readUInt64(source, at + 8);
  const zero = coded % 2 === 1;
  return {
    offset: readUInt64(source, at),
    length: zero ? coded - 1 : coded,
    zero,
    crc: source.readUInt32LE(at + 16),
  };
}

/**
 * Checks one range against the previous range and the size of its disk.
 * @param previousEnd end of the previous range, bytes.
 * @throws CatalogueError LogBroken
 */
export function checkChange(range: Range, previousEnd: number, diskSize: number): void {
  const { offset, length } = range;
  const whole =
    Number.isSafeInteger(offset) && Number.isSafeInteger(length) && offset % 512 === 0 && length % 512 === 0;
  if (whole && length > 0 && offset >= previousEnd && offset + length <= diskSize) return;
  throw new CatalogueError(
    'LogBroken',
    `impossible change of ${length} bytes at ${offset}, behind one that ends at ${previousEnd}, on a disk of ${diskSize}`,
  );
}

// Two halves, because a BigInt for each of a million rows would cost more than everything else.
function writeUInt64(buffer: Buffer, at: number, value: number): void {
  buffer.writeUInt32LE(value % 2 ** 32, at);
  buffer.writeUInt32LE(Math.floor(value / 2 ** 32), at + 4);
}

const readUInt64 = (buffer: Buffer, at: number): number =>
  buffer.readUInt32LE(at) + buffer.readUInt32LE(at + 4) * 2 ** 32;

function writeName(buffer: Buffer, at: number, name: string): void {
  if (Buffer.byteLength(name) >= NAME_BYTES) throw new RangeError(`name ${name} does not fit a change file`);
  buffer.writeUInt8(buffer.write(name, at + 1, 'utf8'), at);
}

const readName = (buffer: Buffer, at: number): string => {
  const length = Math.min(buffer.readUInt8(at), NAME_BYTES - 1);
  return buffer.toString('utf8', at + 1, at + 1 + length);
};
