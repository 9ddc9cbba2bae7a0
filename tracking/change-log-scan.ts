/** Reads `.hrl` logs: the header, then the records in order. Verifies every checksum, with bounded memory. */
import type { FileHandle } from 'node:fs/promises';
import { crc32 } from 'node:zlib';
import { openRegular } from '../disks/open-regular.js';
import { CatalogueError } from '../domain/errors.js';
import { logError } from './change-log-errors.js';
import { decodeHeader, LOG_HEADER_BYTES, type DecodedHeader, type LogIdentity } from './change-log-format.js';
import { decodeRecordHeader, MAX_RECORD_DATA, RECORD_HEADER_BYTES, type RecordHeader } from './change-log-record.js';

/** Room for at least one record of any length. */
const WINDOW_BYTES = 4 * MAX_RECORD_DATA;

export interface ScannedRecord extends RecordHeader {
  /** Position of the record's header in the file. */
  readonly position: number;
  /** Verified; undefined for zeroes. Overwritten when the next batch is requested. */
  readonly data: Buffer | undefined;
}

/** Where a scan ended: the end of the last complete record. */
export interface LogEnd {
  readonly position: number;
  readonly lastWrite: number;
}

export interface FoundLog extends DecodedHeader {
  /** Length of the file, bytes. */
  readonly length: number;
}

/** @throws CatalogueError LogBroken if the file is missing, has no valid header, or is not the expected log. */
export async function readLogHeader(path: string, expected: LogIdentity): Promise<FoundLog> {
  let handle: FileHandle | undefined;
  try {
    handle = await openRegular(path, 'read');
    const bytes = Buffer.alloc(LOG_HEADER_BYTES);
    const { bytesRead } = await handle.read(bytes, 0, LOG_HEADER_BYTES, 0);
    const found = bytesRead === LOG_HEADER_BYTES ? decodeHeader(bytes) : undefined;
    if (!found) throw new CatalogueError('LogBroken', `${path} has no valid header`);
    // The lost content may have included a mark.
    if (found.damage !== undefined) throw new CatalogueError('LogBroken', `${path}: ${found.damage}`);
    for (const key of ['vm', 'disk', 'diskSize', 'epoch', 'sequence'] as const) {
      if (found.header[key] === expected[key]) continue;
      throw new CatalogueError('LogBroken', `${path}: ${key} is ${found.header[key]}, expected ${expected[key]}`);
    }
    return { ...found, length: (await handle.stat()).size };
  } catch (error) {
    throw logError(error, path);
  } finally {
    await handle?.close();
  }
}

export interface ScanRange {
  /** Where to begin: at the first record, or at the log's watermark. */
  readonly position: number;
  /** Number of the last write before that position; undefined if any may come first. */
  readonly lastWrite: number | undefined;
  /** Where a sealed or closed log must end; undefined for a log whose tail may be torn. */
  readonly sealed?: { readonly length: number; readonly lastWrite: number } | undefined;
  /** Up to here all records must be complete, because they may have been acknowledged. */
  readonly appended?: number | undefined;
}

/**
 * Yields the records in log order, in batches. An incomplete last record is a torn tail and ends the scan, unless the
 * log is sealed or the record was once appended completely.
 * @throws CatalogueError LogBroken for a wrong checksum, a number out of order, a sealed log that ends elsewhere, or an
 * appended record that is missing.
 */
export async function* scanLog(
  handle: FileHandle,
  path: string,
  range: ScanRange,
): AsyncGenerator<ScannedRecord[], LogEnd> {
  const broken = (detail: string) => new CatalogueError('LogBroken', `${path}: ${detail}`);
  const fileLength = (await handle.stat()).size;
  if (range.sealed && range.sealed.length !== fileLength) {
    throw broken(`the file has ${fileLength} bytes, ${range.sealed.length} were sealed`);
  }
  const wanted = Math.max(range.position, range.appended ?? 0);
  if (fileLength < wanted) throw broken(`the file has ${fileLength} bytes, but records up to ${wanted} are missing`);
  const window = Buffer.allocUnsafe(WINDOW_BYTES);
  let { position } = range;
  let lastWrite = range.lastWrite;
  while (position < fileLength) {
    const filled = await fill(handle, window, position);
    const records: ScannedRecord[] = [];
    let at = 0;
    while (at + RECORD_HEADER_BYTES <= filled) {
      const record = decodeRecordHeader(window, at);
      if (!record) throw broken(`no valid record at ${position + at}`);
      if (lastWrite !== undefined && record.number !== lastWrite + 1) {
        throw broken(`write ${record.number} at ${position + at} follows write ${lastWrite}`);
      }
      const start = at + RECORD_HEADER_BYTES;
      const stop = record.kind === 'data' ? start + record.length : start;
      if (stop > filled) break;
      const data = record.kind === 'data' ? window.subarray(start, stop) : undefined;
      if (data && crc32(data) !== record.dataCrc) throw broken(`checksum of write ${record.number} does not match`);
      records.push({ ...record, position: position + at, data });
      lastWrite = record.number;
      at = stop;
    }
    if (records.length === 0) break;
    position += at;
    yield records;
  }
  if (position < wanted) throw broken(`ends at ${position}, but records up to ${wanted} are missing`);
  const found = { position, lastWrite: lastWrite ?? 0 };
  if (range.sealed && (position !== range.sealed.length || found.lastWrite !== range.sealed.lastWrite)) {
    throw broken(`ends with write ${found.lastWrite} at ${position}, write ${range.sealed.lastWrite} was sealed`);
  }
  return found;
}

/** @returns bytes read: less than the window only at the end of the file. */
async function fill(handle: FileHandle, window: Buffer, position: number): Promise<number> {
  let filled = 0;
  while (filled < window.length) {
    const { bytesRead } = await handle.read(window, filled, window.length - filled, position + filled);
    if (bytesRead === 0) break;
    filled += bytesRead;
  }
  return filled;
}
