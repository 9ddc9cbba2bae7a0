/**
 * The format of a `.hrl` file. All numbers are little-endian.
 *
 * A header of 4096 bytes, then records without gaps. The header has two slots that are written alternately; the valid
 * slot with the higher generation counts. The other slot must have the previous generation or, as long as only generation
 * 0 has been written, be empty: otherwise its content is lost, which may have included a mark. Behind the second slot is
 * the end of the complete records. It is written after each append and not synced. A killed process does not lose it, so
 * a missing acknowledged record is noticed.
 *
 *   file:   0 slot | 2048 slot | 4080 end: position of the end of the last whole append u64, 0 u32, crc32 of these 12
 *           bytes u32 | 4096 records
 *   slot:   0 magic "FARSHRL1" | 8 version u32: 2 | 12 flags u32 (1 sealed, 2 final, 4 resync, 8 opened by a final cut,
 *           16 closed, 32 disk closed) | 16 generation | 24 disk size | 32 epoch | 40 sequence | 48 created at, ms | 56 first write
 *           (0: not switched to yet) | 64 watermark | 72 last write below the watermark | 80 last write | 88 length of
 *           the file | 96 sealed at, ms | 104 boot id, 16 bytes | 120 vm | 184 disk (u8 length + 63 bytes each)
 *           | 248 cause (u16 length + 1022 bytes) | 1272 time of the disk file's last change, ns, i64 | 1280 its length
 *           | 1288 number of disks tracked together, u16 (0: unknown) | 1290 their names (u8 length + bytes each, as
 *           many as there is room for) | 1964 which file the disk is (u8 length + 63 bytes) | 2028 crc32 of the 2028 bytes before
 *   record: 0 magic "HREC" | 4 kind u32 (1 data, 2 zeroes) | 8 write number u64 | 16 offset u64 | 24 length u64
 *           | 32 crc32 of the data u32 (0 for zeroes) | 36 crc32 of the 36 bytes before | 40 data
 *
 * Numbers without a width are u64. In logs of version 1, slots have 2048 bytes with the crc32 at 2044, and the end of the
 * complete records is not stored. Such logs can be read, and are continued in their format.
 */
import { crc32 } from 'node:zlib';
import type { FileIdentity } from '../disks/file-identity.js';
import { readU64, writeU64 } from './change-log-record.js';

export const LOG_HEADER_BYTES = 4096;

/** Distance between the beginnings of the two slots. */
const SLOT_STEP = 2048;
const END_AT = 4080;
const END_BYTES = 16;
const SLOT_MAGIC = 'FARSHRL1';
/** Size of a slot, bytes, by version. */
const SLOT_BYTES: Readonly<Record<number, number>> = { 1: SLOT_STEP, 2: END_AT - SLOT_STEP };
const MAX_CAUSE_BYTES = 1022;
const REST_AT = 1272;
const TRACKED_AT = 1288;
const FILE_AT = 1964;
const flag = { sealed: 1, final: 2, resync: 4, openedByFinalCut: 8, closed: 16, rest: 32 } as const;

/** Identifies a log; never changes. */
export interface LogIdentity {
  readonly vm: string;
  readonly disk: string;
  /** Virtual size of the disk, bytes. */
  readonly diskSize: number;
  readonly epoch: number;
  readonly sequence: number;
}

/** The disks that are tracked together: their number, and as many of their names as fit into a header. */
export interface TrackedSet {
  readonly count: number;
  readonly names: readonly string[];
}

export interface LogHeader extends LogIdentity {
  /** Undefined in logs of versions that did not store it. */
  tracked?: TrackedSet;
  /** State of the disk's file when it was closed in order; set while no process has it open for writing. */
  rest?: FileIdentity;
  /**
   * Boot id of the machine while the log was open: after another boot, the log may lack data that never left the page
   * cache.
   */
  bootId: string;
  /** When a cut switched to the log, ms since 1970; until then, when the file was created. */
  createdAt: number;
  /** The cut that opened this log found the VM shut down, so the log before this one is final. */
  readonly openedByFinalCut: boolean;
  /** Number of the first write that may be in the log; 0 until a cut switches to it. */
  firstWrite: number;
  /** Every write whose record begins below this position is on the disk. */
  watermark: number;
  /** Number of the last write below the watermark. */
  watermarkWrite: number;
  /** Set when nothing can be added any more: everything is in the file and on stable storage. */
  sealed?: { at: number; final: boolean; lastWrite: number; length: number };
  /** Set while no process has the log open: it was closed in order, and survives a restart of the machine. */
  closed?: { lastWrite: number; length: number };
  /** Set when the logs of the VM no longer describe the whole difference. */
  resyncCause?: string;
  /** Identity of the disk's file as returned by `fileKey` on this boot of the machine. Undefined if it is unknown. */
  file?: string;
  /**
   * End of the last complete record; no acknowledged data is behind it. Undefined in logs of versions that did not
   * store it.
   */
  appended?: number;
}

export interface DecodedHeader {
  readonly header: LogHeader;
  readonly generation: number;
  /** The damaged part of the header, for people: its content is lost, perhaps including a mark. */
  readonly damage?: string;
}

/** Position of the slot with this generation in the file. */
export const slotPosition = (generation: number): number => (generation % 2) * SLOT_STEP;

export function encodeSlot(header: LogHeader, generation: number): Buffer {
  const version = header.appended === undefined ? 1 : 2;
  const slot = Buffer.alloc(SLOT_BYTES[version]!);
  const crcAt = slot.length - 4;
  const { sealed, closed } = header;
  slot.write(SLOT_MAGIC, 0, 'latin1');
  slot.writeUInt32LE(version, 8);
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
  if (header.tracked) encodeTracked(slot.subarray(0, version === 1 ? crcAt : FILE_AT), header.tracked);
  if (version > 1 && header.file !== undefined) slot.writeUInt8(slot.write(header.file, FILE_AT + 1, 63), FILE_AT);
  slot.writeUInt32LE(crc32(slot.subarray(0, crcAt)), crcAt);
  return slot;
}

/** The 4096 bytes of a new log's header. */
export function encodeNewHeader(header: LogHeader): Buffer {
  const bytes = Buffer.concat([encodeSlot(header, 0)], LOG_HEADER_BYTES);
  if (header.appended !== undefined) encodeEnd(header.appended).copy(bytes, END_AT);
  return bytes;
}

/** Position in the file for the result of `encodeEnd`. */
export const endPosition = END_AT;

/** The end of the last complete record. */
export function encodeEnd(position: number): Buffer {
  const bytes = Buffer.alloc(END_BYTES);
  writeU64(bytes, position, 0);
  bytes.writeUInt32LE(crc32(bytes.subarray(0, END_BYTES - 4)), END_BYTES - 4);
  return bytes;
}

function decodeEnd(bytes: Buffer): number | undefined {
  const end = bytes.subarray(END_AT, END_AT + END_BYTES);
  if (end.length < END_BYTES || crc32(end.subarray(0, END_BYTES - 4)) !== end.readUInt32LE(END_BYTES - 4))
    return undefined;
  return readU64(end, 0);
}

function encodeTracked(slot: Buffer, { count, names }: TrackedSet): void {
  slot.writeUInt16LE(count, TRACKED_AT);
  let at = TRACKED_AT + 2;
  for (const name of names) {
    const length = Buffer.byteLength(name);
    if (at + 1 + length > slot.length) return;
    slot.writeUInt8(length, at);
    slot.write(name, at + 1);
    at += 1 + length;
  }
}

function decodeTracked(slot: Buffer): TrackedSet | undefined {
  const count = slot.readUInt16LE(TRACKED_AT);
  if (count === 0) return undefined;
  const names: string[] = [];
  for (let at = TRACKED_AT + 2; names.length < count && at < slot.length;) {
    const length = slot.readUInt8(at);
    if (length === 0) break;
    names.push(slot.toString('utf8', at + 1, at + 1 + length));
    at += 1 + length;
  }
  return { count, names };
}

/** @param bytes the first 4096 of the file. @returns undefined if neither slot can be read. */
export function decodeHeader(bytes: Buffer): DecodedHeader | undefined {
  const slots = [0, SLOT_STEP].map((position) => decodeSlot(bytes.subarray(position, position + SLOT_STEP)));
  const newest = slots.filter((slot) => slot !== undefined).sort((a, b) => b.generation - a.generation)[0];
  if (!newest) return undefined;
  const { header, generation } = newest;
  const other = 1 - (generation % 2);
  const whole =
    generation === 0 ? isEmpty(bytes.subarray(SLOT_STEP, END_AT)) : slots[other]?.generation === generation - 1;
  const damage = whole ? undefined : 'one of the two slots of its header is damaged';
  if (header.appended === undefined) return { header, generation, ...(damage && { damage }) };
  const appended = decodeEnd(bytes);
  if (appended !== undefined) return { header: { ...header, appended }, generation, ...(damage && { damage }) };
  return { header, generation, damage: damage ?? 'where its last record ends is damaged' };
}

/** Whether at least one slot begins like a slot, readable or not. */
export const looksLikeLog = (bytes: Buffer): boolean =>
  [0, SLOT_STEP].some((position) => bytes.toString('latin1', position, position + SLOT_MAGIC.length) === SLOT_MAGIC);

const isEmpty = (bytes: Buffer): boolean => bytes.every((byte) => byte === 0);

function decodeSlot(bytes: Buffer): { header: LogHeader; generation: number } | undefined {
  if (bytes.length < SLOT_STEP || bytes.toString('latin1', 0, 8) !== SLOT_MAGIC) return undefined;
  const version = bytes.readUInt32LE(8);
  const size = SLOT_BYTES[version];
  if (size === undefined) return undefined;
  const slot = bytes.subarray(0, size - 4);
  if (crc32(slot) !== bytes.readUInt32LE(size - 4)) return undefined;
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
  if (version > 1) header.appended = LOG_HEADER_BYTES;
  const tracked = decodeTracked(version === 1 ? slot : slot.subarray(0, FILE_AT));
  if (version > 1 && slot.readUInt8(FILE_AT) > 0) header.file = text(FILE_AT);
  if (tracked) header.tracked = tracked;
  if (flags & flag.rest) {
    header.rest = { mtimeNs: slot.readBigInt64LE(REST_AT), size: Number(slot.readBigUInt64LE(REST_AT + 8)) };
  }
  if (flags & flag.sealed) header.sealed = { at: number(10), final: (flags & flag.final) !== 0, lastWrite, length };
  if (flags & flag.closed) header.closed = { lastWrite, length };
  if (flags & flag.resync) header.resyncCause = slot.toString('utf8', 250, 250 + slot.readUInt16LE(248));
  return { header, generation: number(0) };
}
