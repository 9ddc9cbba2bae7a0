/**
 * What a `.hrl` file looks like. All numbers are little-endian.
 *
 * A header of 4096 bytes, then records without gaps. The header is written twice, in two slots of 2048 bytes that are
 * overwritten in turns; the valid slot with the higher generation counts, so that losing the machine in the middle of
 * an update leaves the one before.
 *
 *   slot:   0 magic "FARSHRL1" | 8 version u32 | 12 flags u32 (1 sealed, 2 final, 4 resync, 8 opened by a final cut,
 *           16 closed, 32 disk put down) | 16 generation | 24 disk size | 32 epoch | 40 sequence | 48 created at, ms | 56 first write
 *           (0: not switched to yet) | 64 watermark | 72 last write below the watermark | 80 last write | 88 length of
 *           the file | 96 sealed at, ms | 104 boot id, 16 bytes | 120 vm | 184 disk (u8 length + 63 bytes each)
 *           | 248 cause (u16 length + 1022 bytes) | 1272 time of the disk file's last change, ns, i64 | 1280 its length
 *           | 1288 number of disks tracked together, u16 (0: not told) | 1290 their names (u8 length + bytes each, as
 *           many as there is room for) | 2044 crc32 of the 2044 bytes before
 *   record: 0 magic "HREC" | 4 kind u32 (1 data, 2 zeroes) | 8 write number u64 | 16 offset u64 | 24 length u64
 *           | 32 crc32 of the data u32 (0 for zeroes) | 36 crc32 of the 36 bytes before | 40 data
 *
 * Numbers without a width are u64.
 */
import { crc32 } from 'node:zlib';
import type { FileIdentity } from '../disks/file-identity.js';

export const LOG_HEADER_BYTES = 4096;
export const RECORD_HEADER_BYTES = 40;
/** A record carries at most this much data, so that whoever verifies one needs to hold no more. */
export const MAX_RECORD_DATA = 1024 * 1024;

const SLOT_BYTES = 2048;
const SLOT_MAGIC = 'FARSHRL1';
const RECORD_MAGIC = 0x43455248;
const VERSION = 1;
const MAX_CAUSE_BYTES = 1022;
const REST_AT = 1272;
const TRACKED_AT = 1288;
const CRC_AT = SLOT_BYTES - 4;
const flag = { sealed: 1, final: 2, resync: 4, openedByFinalCut: 8, closed: 16, rest: 32 } as const;

/** Which log this is; never changes. */
export interface LogIdentity {
  readonly vm: string;
  readonly disk: string;
  /** Virtual size of the disk, bytes. */
  readonly diskSize: number;
  readonly epoch: number;
  readonly sequence: number;
}

/** The disks that are tracked together: their number, and as many of their names as a header has room for. */
export interface TrackedSet {
  readonly count: number;
  readonly names: readonly string[];
}

export interface LogHeader extends LogIdentity {
  /** Undefined in logs from before it was told. */
  tracked?: TrackedSet;
  /** The disk's file as it was put down in order; set while nobody has it open for writing. */
  rest?: FileIdentity;
  /** Of the machine while the log was open: the log of another boot may lack what never left the page cache. */
  bootId: string;
  /** When a cut switched to it, ms since 1970; before that, when the file was made. */
  createdAt: number;
  /** The cut that opened this log found the VM shut down: so the log before this one is a final one. */
  readonly openedByFinalCut: boolean;
  /** Number of the first write that may be in it; 0 while nobody has switched to it. */
  firstWrite: number;
  /** Every write whose record begins below this position is on the disk. */
  watermark: number;
  /** Number of the last write below the watermark. */
  watermarkWrite: number;
  /** Set once nothing more can come: everything is in the file and on stable storage. */
  sealed?: { at: number; final: boolean; lastWrite: number; length: number };
  /** Set while nobody has it open: a log put down in order, which outlives a restart of the machine. */
  closed?: { lastWrite: number; length: number };
  /** Set when the logs of the VM no longer tell the whole difference. */
  resyncCause?: string;
}

export type LogRecordKind = 'data' | 'zero';

export interface RecordHeader {
  readonly kind: LogRecordKind;
  readonly number: number;
  readonly offset: number;
  readonly length: number;
  readonly dataCrc: number;
}

/** Bytes a record takes in the file. */
export const recordBytes = (record: { kind: LogRecordKind; length: number }): number =>
  RECORD_HEADER_BYTES + (record.kind === 'data' ? record.length : 0);

/** Where the slot of this generation goes in the file. */
export const slotPosition = (generation: number): number => (generation % 2) * SLOT_BYTES;

export function encodeSlot(header: LogHeader, generation: number): Buffer {
  const slot = Buffer.alloc(SLOT_BYTES);
  const { sealed, closed } = header;
  slot.write(SLOT_MAGIC, 0, 'latin1');
  slot.writeUInt32LE(VERSION, 8);
  slot.writeUInt32LE(
    (sealed ? flag.sealed : 0) |
      (sealed?.final ? flag.final : 0) |
      (header.resyncCause === undefined ? 0 : flag.resync) |
      (header.openedByFinalCut ? flag.openedByFinalCut : 0) |
      (closed ? flag.closed : 0) |
      (header.rest ? flag.rest : 0),
    12,
  );
  const numbers = [
    generation,
    header.diskSize,
    header.epoch,
    header.sequence,
    header.createdAt,
    header.firstWrite,
    header.watermark,
    header.watermarkWrite,
    sealed?.lastWrite ?? closed?.lastWrite ?? 0,
    sealed?.length ?? closed?.length ?? 0,
    sealed?.at ?? 0,
  ];
  for (const [index, value] of numbers.entries()) slot.writeBigUInt64LE(BigInt(value), 16 + index * 8);
  slot.write(header.bootId.replaceAll('-', ''), 104, 16, 'hex');
  slot.writeUInt8(slot.write(header.vm, 121, 63), 120);
  slot.writeUInt8(slot.write(header.disk, 185, 63), 184);
  slot.writeUInt16LE(slot.write(header.resyncCause ?? '', 250, MAX_CAUSE_BYTES), 248);
  if (header.rest) {
    slot.writeBigInt64LE(header.rest.mtimeNs, REST_AT);
    slot.writeBigUInt64LE(BigInt(header.rest.size), REST_AT + 8);
  }
  if (header.tracked) encodeTracked(slot, header.tracked);
  slot.writeUInt32LE(crc32(slot.subarray(0, CRC_AT)), CRC_AT);
  return slot;
}

function encodeTracked(slot: Buffer, { count, names }: TrackedSet): void {
  slot.writeUInt16LE(count, TRACKED_AT);
  let at = TRACKED_AT + 2;
  for (const name of names) {
    const length = Buffer.byteLength(name);
    if (at + 1 + length > CRC_AT) return;
    slot.writeUInt8(length, at);
    slot.write(name, at + 1);
    at += 1 + length;
  }
}

function decodeTracked(slot: Buffer): TrackedSet | undefined {
  const count = slot.readUInt16LE(TRACKED_AT);
  if (count === 0) return undefined;
  const names: string[] = [];
  for (let at = TRACKED_AT + 2; names.length < count && at < CRC_AT;) {
    const length = slot.readUInt8(at);
    if (length === 0) break;
    names.push(slot.toString('utf8', at + 1, at + 1 + length));
    at += 1 + length;
  }
  return { count, names };
}

/** @param bytes the first 4096 of the file. @returns undefined when neither slot can be read. */
export function decodeHeader(bytes: Buffer): { header: LogHeader; generation: number } | undefined {
  const slots = [0, SLOT_BYTES].map((position) => decodeSlot(bytes.subarray(position, position + SLOT_BYTES)));
  return slots.filter((slot) => slot !== undefined).sort((a, b) => b.generation - a.generation)[0];
}

function decodeSlot(slot: Buffer): { header: LogHeader; generation: number } | undefined {
  if (slot.length < SLOT_BYTES || slot.toString('latin1', 0, 8) !== SLOT_MAGIC) return undefined;
  if (slot.readUInt32LE(8) !== VERSION) return undefined;
  if (crc32(slot.subarray(0, CRC_AT)) !== slot.readUInt32LE(CRC_AT)) return undefined;
  const flags = slot.readUInt32LE(12);
  const number = (index: number) => Number(slot.readBigUInt64LE(16 + index * 8));
  const text = (at: number) => slot.toString('utf8', at + 1, at + 1 + slot.readUInt8(at));
  const lastWrite = number(8);
  const length = number(9);
  const header: LogHeader = {
    vm: text(120),
    disk: text(184),
    diskSize: number(1),
    epoch: number(2),
    sequence: number(3),
    bootId: slot.toString('hex', 104, 120).replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5'),
    createdAt: number(4),
    openedByFinalCut: (flags & flag.openedByFinalCut) !== 0,
    firstWrite: number(5),
    watermark: number(6),
    watermarkWrite: number(7),
  };
  const tracked = decodeTracked(slot);
  if (tracked) header.tracked = tracked;
  if (flags & flag.rest) {
    header.rest = { mtimeNs: slot.readBigInt64LE(REST_AT), size: Number(slot.readBigUInt64LE(REST_AT + 8)) };
  }
  if (flags & flag.sealed) header.sealed = { at: number(10), final: (flags & flag.final) !== 0, lastWrite, length };
  if (flags & flag.closed) header.closed = { lastWrite, length };
  if (flags & flag.resync) header.resyncCause = slot.toString('utf8', 250, 250 + slot.readUInt16LE(248));
  return { header, generation: number(0) };
}

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

/** @returns undefined when these 40 bytes are not a record's header. */
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

// Two halves instead of a BigInt: this runs for every write of a guest.
function writeU64(bytes: Buffer, value: number, at: number): void {
  bytes.writeUInt32LE(value % 2 ** 32, at);
  bytes.writeUInt32LE(Math.floor(value / 2 ** 32), at + 4);
}

const readU64 = (bytes: Buffer, at: number): number => bytes.readUInt32LE(at) + bytes.readUInt32LE(at + 4) * 2 ** 32;
