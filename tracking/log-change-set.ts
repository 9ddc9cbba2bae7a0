/**
 * A change set read from sealed logs. Every record is verified when the log is indexed, and verified completely again
 * whenever a part of it is read. Its checksum is in the log, so damage between the two is noticed.
 */
import type { FileHandle } from 'node:fs/promises';
import { crc32 } from 'node:zlib';
import { openRegular } from '../disks/open-regular.js';
import { CatalogueError } from '../domain/errors.js';
import { end, type Range } from '../domain/ranges.js';
import type { ChangeRange, ChangeSet, DiskChanges } from '../ports/change-source.js';
import { logError } from './change-log-errors.js';
import { LOG_HEADER_BYTES, type LogIdentity } from './change-log-format.js';
import { decodeRecordHeader, MAX_RECORD_DATA, RECORD_HEADER_BYTES } from './change-log-record.js';
import { readLogHeader, scanLog } from './change-log-scan.js';
import { CoalescedWrites } from './write-runs.js';

/** Number of ranges yielded together. */
const BATCH_RANGES = 1024;
/**
 * Records that were read in part are kept for their other parts: the ranges of a record are read one after the other.
 */
const KEPT_RECORDS = 4;

export interface SealedLog extends LogIdentity {
  readonly path: string;
  readonly lastWrite: number;
}

/**
 * @param logs one sealed log for each disk, all of the same cut.
 * @throws CatalogueError LogBroken if one is missing, damaged, not sealed, or not the expected one.
 */
export async function openLogChangeSet(logs: readonly SealedLog[]): Promise<ChangeSet> {
  const disks: LogChanges[] = [];
  const close = async () => {
    await Promise.all(disks.map((disk) => disk.close()));
  };
  try {
    for (const log of logs) disks.push(await LogChanges.open(log));
  } catch (error) {
    await close();
    throw error;
  }
  return { disks, close };
}

class LogChanges implements DiskChanges {
  readonly #kept = new Map<number, VerifiedRecord>();

  private constructor(
    private readonly log: SealedLog,
    private readonly handle: FileHandle,
    private readonly writes: CoalescedWrites,
    readonly ranges: AsyncIterable<readonly ChangeRange[]>,
  ) {}

  static async open(log: SealedLog): Promise<LogChanges> {
    const { header } = await readLogHeader(log.path, log);
    const broken = (detail: string) => new CatalogueError('LogBroken', `${log.path}: ${detail}`);
    if (header.resyncCause !== undefined) throw new CatalogueError('ResyncRequired', header.resyncCause);
    const { sealed } = header;
    if (!sealed) throw broken('the log is not sealed');
    if (sealed.lastWrite !== log.lastWrite) {
      throw broken(`sealed with write ${sealed.lastWrite}, expected ${log.lastWrite}`);
    }
    const handle = await openRegular(log.path, 'read').catch((error: unknown) => {
      throw logError(error, log.path);
    });
    const writes = new CoalescedWrites();
    try {
      const start = { position: LOG_HEADER_BYTES, lastWrite: header.firstWrite - 1, sealed };
      for await (const records of scanLog(handle, log.path, start)) {
        for (const record of records) {
          if (end(record) > log.diskSize) throw broken(`write ${record.number} goes past the end of the disk`);
          writes.add(record);
        }
      }
      return new LogChanges(log, handle, writes, inBatches(writes.coalesce()));
    } catch (error) {
      writes.close();
      await handle.close();
      if (error instanceof RangeError) throw broken(error.message);
      throw logError(error, log.path);
    }
  }

  get name(): string {
    return this.log.disk;
  }

  async read(range: ChangeRange, part: Range): Promise<Buffer> {
    if (range.zero) return Buffer.alloc(part.length);
    const content = Buffer.allocUnsafe(part.length);
    const reader = new WindowReader(this.handle, this.log.path);
    let { position } = range;
    // A range of several records begins with its first record: skips the records before the requested part.
    for (let at = range.offset; at < end(part);) {
      const record = this.#kept.get(position) ?? (await this.#record(reader, position, end(part) - at));
      const skip = at - record.offset;
      if (skip < 0 || skip >= record.data.length) {
        throw new CatalogueError('LogBroken', `${this.log.path}: another write than indexed at ${position}`);
      }
      const stop = Math.min(record.offset + record.data.length, end(part));
      const from = Math.max(at, part.offset);
      if (from < stop) record.data.copy(content, from - part.offset, from - record.offset, stop - record.offset);
      at = stop;
      position += RECORD_HEADER_BYTES + record.data.length;
    }
    return content;
  }

  async close(): Promise<void> {
    this.#kept.clear();
    this.writes.close();
    await this.handle.close();
  }

  /** @param wanted number of bytes wanted from this record and those after it: the record is kept if it has more. */
  async #record(reader: WindowReader, position: number, wanted: number): Promise<VerifiedRecord> {
    const broken = (detail: string) => new CatalogueError('LogBroken', `${this.log.path}: ${detail}`);
    try {
      const head = await reader.take(position, RECORD_HEADER_BYTES, wanted);
      const record = decodeRecordHeader(head, 0);
      if (record?.kind !== 'data') throw broken(`no valid record of data at ${position}`);
      const data = await reader.take(position + RECORD_HEADER_BYTES, record.length, wanted);
      if (crc32(data) !== record.dataCrc) throw broken(`checksum of write ${record.number} does not match`);
      const verified = { offset: record.offset, data };
      if (data.length > wanted) this.#keep(position, verified);
      return verified;
    } catch (error) {
      throw logError(error, this.log.path);
    }
  }

  #keep(position: number, record: VerifiedRecord): void {
    this.#kept.set(position, record);
    for (const oldest of this.#kept.keys()) {
      if (this.#kept.size <= KEPT_RECORDS) break;
      this.#kept.delete(oldest);
    }
  }
}

/** In batches, because single ranges would cost a turn of the event loop each. */
const inBatches = (ranges: Iterable<ChangeRange>): AsyncIterable<readonly ChangeRange[]> => ({
  async *[Symbol.asyncIterator]() {
    let batch: ChangeRange[] = [];
    for (const range of ranges) {
      batch.push(range);
      if (batch.length < BATCH_RANGES) continue;
      yield batch;
      batch = [];
    }
    if (batch.length > 0) yield batch;
  },
});

interface VerifiedRecord {
  readonly offset: number;
  readonly data: Buffer;
}

/** Reads small consecutive records from the file in one call. */
class WindowReader {
  #start = 0;
  #window: Buffer = Buffer.alloc(0);

  constructor(
    private readonly handle: FileHandle,
    private readonly path: string,
  ) {}

  /** @param ahead about how many bytes after these will be requested, too. */
  async take(position: number, length: number, ahead: number): Promise<Buffer> {
    const at = position - this.#start;
    if (at >= 0 && at + length <= this.#window.length) return this.#window.subarray(at, at + length);
    const useful = Math.min(ahead + RECORD_HEADER_BYTES, MAX_RECORD_DATA);
    const window = Buffer.allocUnsafe(Math.max(length, useful));
    let filled = 0;
    while (filled < length) {
      const { bytesRead } = await this.handle.read(window, filled, window.length - filled, position + filled);
      if (bytesRead === 0) throw new CatalogueError('LogBroken', `${this.path}: ends before it should`);
      filled += bytesRead;
    }
    this.#start = position;
    this.#window = window.subarray(0, filled);
    return this.#window.subarray(0, length);
  }
}
