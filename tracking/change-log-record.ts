/** Encodes and decodes a record of a `.hrl` log; change-log-format.ts describes the format. */
import { crc32 } from 'node:zlib';

export const RECORD_HEADER_BYTES = 40;
/** Limit of the data in a record, so that verifying one takes limited memory. */
export const MAX_RECORD_DATA = 1024 * 1024;

const RECORD_MAGIC = 0x43455248;

export type LogRecordKind = 'data' | 'zero';

export interface RecordHeader {
  readonly kind: LogRecordKind;
  readonly number: number;
  readonly offset: number;
  readonly length: number;
  readonly dataCrc: number;
}

/** Size of a record in the file, bytes. */
export const recordBytes = (record: { kind: LogRecordKind; length: number }): number =>
  RECORD_HEADER_BYTES + (record.kind === 'data' ? record.length : 0);

export function encodeRecordHeader(record: RecordHeader): Buffer {
  const bytes = Buffer.allocUnsafe(RECORD_HEADER_BYTES);
  bytes.writeUInt32LE(RECORD_MAGIC, 0);
  bytes.writeUInt32LE(record.kind === 'data' ? 1 : 2, 4);
  writeU64(bytes, record.number, 8);
  writeU64(bytes, record.offset, 16);
  writeU64(bytes, record.length, 24);
  bytes.writeUInt32LE(record.dataCrc, 32);
  bytes.writeUInt32LE(crc32(bytes.subarray(0, 36)), 36);
  return bytes;
}

/** @returns undefined if these 40 bytes are not the header of a record. */
export function decodeRecordHeader(bytes: Buffer, position: number): RecordHeader | undefined {
  if (bytes.readUInt32LE(position) !== RECORD_MAGIC) return undefined;
  if (crc32(bytes.subarray(position, position + 36)) !== bytes.readUInt32LE(position + 36)) return undefined;
  const kind = bytes.readUInt32LE(position + 4);
  const length = readU64(bytes, position + 24);
  if ((kind !== 1 && kind !== 2) || length === 0 || (kind === 1 && length > MAX_RECORD_DATA)) return undefined;
  return {
    kind: kind === 1 ? 'data' : 'zero',
    number: readU64(bytes, position + 8),
    offset: readU64(bytes, position + 16),
    length,
    dataCrc: bytes.readUInt32LE(position + 32),
  };
}

// Two halves instead of a BigInt, because this runs for every write of a guest.
export function writeU64(bytes: Buffer, value: number, at: number): void {
  bytes.writeUInt32LE(value % 2 ** 32, at);
  bytes.writeUInt32LE(Math.floor(value / 2 ** 32), at + 4);
}

export const readU64 = (bytes: Buffer, at: number): number =>
  bytes.readUInt32LE(at) + bytes.readUInt32LE(at + 4) * 2 ** 32;
