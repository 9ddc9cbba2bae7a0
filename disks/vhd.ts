/**
 * Fixed VHD: the bytes of the disk, then a footer of 512 bytes (Microsoft's "Virtual Hard Disk Image Format
 * Specification" 1.0; numbers are big-endian). The size is the footer's `current size`. The CHS geometry is written as
 * the specification requires, but never read, because it cannot express most sizes.
 */
import { randomBytes } from 'node:crypto';
import { open } from 'node:fs/promises';
import { blake3 } from '@napi-rs/blake-hash';
import { CatalogueError } from '../domain/errors.js';
import { diskError } from './disk-errors.js';
import { fileSize } from './file-size.js';
import { readAt, writeAt } from './positional-io.js';
import { RawDisk, openDiskFile } from './raw.js';

export const VHD_FOOTER_BYTES = 512;

const COOKIE = 'conectix';
const FIXED = 2;
const CHECKSUM_AT = 64;

export interface VhdFooter {
  /** Virtual size, bytes. */
  readonly size: number;
  /** Four characters that identify the program that wrote it. */
  readonly creator: string;
  readonly uniqueId: Buffer;
}

/**
 * The footer of a disk of `sizeBytes`, a multiple of 512. The same arguments give the same bytes: the creation time
 * stays at the format's epoch. The creator is `win `, that of Windows: for other creators, qemu uses the geometry and
 * truncates the disk where that ends.
 * @param uniqueId 16 bytes.
 */
export function fixedVhdFooter(sizeBytes: number, uniqueId: Buffer): Buffer {
  if (!Number.isSafeInteger(sizeBytes) || sizeBytes <= 0 || sizeBytes % 512 !== 0) {
    throw new RangeError(`a VHD's size is a positive multiple of 512 bytes, not ${sizeBytes}`);
  }
  if (uniqueId.length !== 16) throw new RangeError(`a VHD's unique id has 16 bytes, not ${uniqueId.length}`);
  const footer = Buffer.alloc(VHD_FOOTER_BYTES);
  footer.write(COOKIE, 0, 'latin1');
  footer.writeUInt32BE(2, 8); // features: the one bit that is always set
  footer.writeUInt32BE(0x0001_0000, 12); // format version 1.0
  footer.fill(0xff, 16, 24); // no dynamic disk header
  footer.write('win ', 28, 'latin1');
  footer.writeUInt32BE(0x000a_0000, 32);
  footer.write('Wi2k', 36, 'latin1');
  footer.writeBigUInt64BE(BigInt(sizeBytes), 40);
  footer.writeBigUInt64BE(BigInt(sizeBytes), 48);
  const { cylinders, heads, sectors } = geometry(sizeBytes);
  footer.writeUInt16BE(cylinders, 56);
  footer.writeUInt8(heads, 58);
  footer.writeUInt8(sectors, 59);
  footer.writeUInt32BE(FIXED, 60);
  uniqueId.copy(footer, 68);
  footer.writeUInt32BE(checksum(footer), CHECKSUM_AT);
  return footer;
}

/** Always the same bytes for the same disk of a VM. */
export const footerOfDisk = (vm: string, disk: string, sizeBytes: number): Buffer =>
  fixedVhdFooter(sizeBytes, blake3(`${vm}/${disk}`).subarray(0, 16));

/** @throws CatalogueError BrokenChain if it is not an intact footer of a fixed VHD. */
export function parseVhdFooter(footer: Buffer): VhdFooter {
  const broken = (problem: string) => new CatalogueError('BrokenChain', `VHD footer: ${problem}`);
  if (footer.length !== VHD_FOOTER_BYTES) throw broken(`${footer.length} bytes instead of ${VHD_FOOTER_BYTES}`);
  if (footer.toString('latin1', 0, 8) !== COOKIE) throw broken('missing');
  const stored = footer.readUInt32BE(CHECKSUM_AT);
  const computed = checksum(footer);
  if (stored !== computed) throw broken(`checksum ${stored.toString(16)}, its content gives ${computed.toString(16)}`);
  const type = footer.readUInt32BE(60);
  if (type !== FIXED) throw broken(`disk type ${type}; only fixed VHDs (${FIXED}) can be used; convert it`);
  const size = Number(footer.readBigUInt64BE(48));
  if (!Number.isSafeInteger(size) || size <= 0 || size % 512 !== 0) throw broken(`impossible size ${size}`);
  return { size, creator: footer.toString('latin1', 28, 32), uniqueId: Buffer.from(footer.subarray(68, 84)) };
}

/** @throws CatalogueError DiskMissing, BrokenChain. */
export async function openVhd(path: string, options: { readOnly?: boolean } = {}): Promise<RawDisk> {
  const file = await openDiskFile(path, options.readOnly ?? false);
  try {
    const bytes = await fileSize(file);
    const footer = Buffer.alloc(Math.min(VHD_FOOTER_BYTES, bytes));
    await readAt(file, footer, bytes - footer.length);
    const { size } = parseVhdFooter(footer);
    if (bytes !== size + VHD_FOOTER_BYTES) {
      throw new CatalogueError(
        'BrokenChain',
        `the footer gives ${size} bytes, but the file has ${bytes} including the footer`,
      );
    }
    return new RawDisk(file, path, size);
  } catch (error) {
    await file.close();
    if (error instanceof CatalogueError)
      throw new CatalogueError(error.code, `${path}: ${error.detail}`, { cause: error });
    throw diskError(error, path, 'read');
  }
}

/** A new, empty, sparse disk of `sizeBytes`. @throws CatalogueError; EEXIST if the file exists. */
export async function createFixedVhd(path: string, sizeBytes: number): Promise<void> {
  const footer = fixedVhdFooter(sizeBytes, randomBytes(16));
  try {
    const file = await open(path, 'wx', 0o600);
    try {
      await writeAt(file, footer, sizeBytes);
      await file.sync();
    } finally {
      await file.close();
    }
  } catch (error) {
    throw diskError(error, path, 'write');
  }
}

/** One's complement of the sum of all bytes except the checksum. */
function checksum(footer: Buffer): number {
  let sum = 0;
  for (const [index, byte] of footer.entries()) {
    if (index < CHECKSUM_AT || index >= CHECKSUM_AT + 4) sum += byte;
  }
  return ~sum >>> 0;
}

/** The specification's appendix "CHS Calculation". */
function geometry(sizeBytes: number): { cylinders: number; heads: number; sectors: number } {
  const total = Math.min(sizeBytes / 512, 65535 * 16 * 255);
  if (total >= 65535 * 16 * 63) {
    return { cylinders: Math.floor(Math.floor(total / 255) / 16), heads: 16, sectors: 255 };
  }
  let sectors = 17;
  let cylinderTimesHeads = Math.floor(total / sectors);
  let heads = Math.max(4, Math.floor((cylinderTimesHeads + 1023) / 1024));
  if (cylinderTimesHeads >= heads * 1024 || heads > 16) {
    sectors = 31;
    heads = 16;
    cylinderTimesHeads = Math.floor(total / sectors);
  }
  if (cylinderTimesHeads >= heads * 1024) {
    sectors = 63;
    heads = 16;
    cylinderTimesHeads = Math.floor(total / sectors);
  }
  return { cylinders: Math.floor(cylinderTimesHeads / heads), heads, sectors };
}
