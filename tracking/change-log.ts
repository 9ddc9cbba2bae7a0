/**
 * The `.hrl` log that one disk's writes are tracked in, while it is being written. The file is always a prefix of what
 * joined, so that a torn tail holds nothing anyone was told about.
 */
import { open, rename, rm, type FileHandle } from 'node:fs/promises';
import { basename, dirname } from 'node:path';
import { crc32 } from 'node:zlib';
import type { FileIdentity } from '../disks/file-identity.js';
import { openRegular } from '../disks/open-regular.js';
import { syncFolder } from '../disks/sync-folder.js';
import { cycleName } from '../domain/ids.js';
import type { Range } from '../domain/ranges.js';
import { Appender } from './change-log-appender.js';
import { HeaderWriter } from './change-log-header.js';
import { logError } from './change-log-errors.js';
import { encodeNewHeader, LOG_HEADER_BYTES, type LogHeader, type LogIdentity } from './change-log-format.js';
import { encodeRecordHeader, MAX_RECORD_DATA } from './change-log-record.js';
import { deferred, type Deferred } from './deferred.js';

/** How much log may pile up above the persisted watermark: what a restart has to replay. */
const WATERMARK_STEP = 32 * 1024 * 1024;

export const logPath = (diskPath: string, epoch: number, sequence: number): string =>
  `${diskPath}.${cycleName(epoch, sequence)}.hrl`;

/** A record that has joined the log. */
export interface LogRecord {
  readonly number: number;
  readonly position: number;
  /** Resolves when a killed process no longer loses the record; rejects with the errno of the failed append. */
  readonly appended: Promise<void>;
}

interface OpenRecord extends LogRecord {
  readonly end: number;
  settled: boolean;
}

export type NewLog = LogIdentity &
  Pick<
    LogHeader,
    'bootId' | 'createdAt' | 'openedByFinalCut' | 'firstWrite' | 'resyncCause' | 'tracked' | 'rest' | 'file'
  >;

function setFile(header: LogHeader, file: string | undefined): void {
  if (file === undefined) delete header.file;
  else header.file = file;
}

export class ChangeLog {
  /** Records whose disk write has not ended, oldest first, and settled ones behind them. */
  readonly #open: OpenRecord[] = [];
  #openHead = 0;
  readonly #appender: Appender;
  #lastWrite: number;
  readonly #headerWriter: HeaderWriter;
  #persistedWatermark: number;
  #idle: Deferred<void> | undefined;

  private constructor(
    readonly path: string,
    readonly header: LogHeader,
    readonly handle: FileHandle,
    generation: number,
    tail: number,
    lastWrite: number,
  ) {
    const headerWriter = new HeaderWriter(handle, header, generation);
    this.#headerWriter = headerWriter;
    this.#appender = new Appender(handle, tail, (end) => headerWriter.appended(end));
    this.#lastWrite = lastWrite;
    this.#persistedWatermark = header.watermark;
  }

  /**
   * Creates an empty log; it is on stable storage under its name when this resolves. A file of that name is replaced.
   * @throws CatalogueError SourceDiskFull, AuthorizationFailed
   */
  static async create(path: string, log: NewLog): Promise<ChangeLog> {
    const header: LogHeader = {
      ...log,
      watermark: LOG_HEADER_BYTES,
      watermarkWrite: Math.max(0, log.firstWrite - 1),
      appended: LOG_HEADER_BYTES,
    };
    const unfinished = `${path}.new`;
    try {
      const handle = await open(unfinished, 'w+', 0o600);
      try {
        // All of the header is written, so that marking the log later needs no space.
        await handle.write(encodeNewHeader(header), 0, LOG_HEADER_BYTES, 0);
        await handle.sync();
        await rename(unfinished, path);
        await syncFolder(dirname(path));
      } catch (error) {
        await handle.close();
        await rm(unfinished, { force: true });
        throw error;
      }
      return new ChangeLog(path, header, handle, 0, LOG_HEADER_BYTES, header.watermarkWrite);
    } catch (error) {
      throw logError(error, path);
    }
  }

  /**
   * Goes on with a log after a restart, everything in it being on the disk. What is behind `position` is dropped.
   * @param position end of the last whole record.
   */
  static async reopen(
    path: string,
    found: { header: LogHeader; generation: number },
    state: { position: number; lastWrite: number; bootId: string; file: string | undefined },
  ): Promise<ChangeLog> {
    const handle = await openRegular(path, 'read and write').catch((error: unknown) => {
      throw logError(error, path);
    });
    try {
      const header = { ...found.header, bootId: state.bootId };
      delete header.closed;
      delete header.rest;
      setFile(header, state.file);
      header.watermark = state.position;
      header.watermarkWrite = state.lastWrite;
      const log = new ChangeLog(path, header, handle, found.generation, state.position, state.lastWrite);
      // Before anything is thrown away: the header may bring the news that the log is marked.
      if (header.resyncCause === undefined) await log.#headerWriter.write(true);
      else await log.#headerWriter.writeTwice();
      await handle.truncate(state.position);
      return log;
    } catch (error) {
      await handle.close();
      throw logError(error, path);
    }
  }

  get name(): string {
    return basename(this.path);
  }

  /** Length of the file with everything that joined, bytes. */
  get bytes(): number {
    return this.#appender.position;
  }

  get lastWrite(): number {
    return this.#lastWrite;
  }

  /**
   * From here on writes may join, numbered from `firstWrite`. The header says so at once, in a step nothing comes
   * between, so that it is known when the process is killed; `persistFirstWrite`, for the loss of the machine, is to follow.
   * @param at ms since 1970.
   */
  switchTo(firstWrite: number, at: number): void {
    this.header.createdAt = at;
    this.header.firstWrite = firstWrite;
    this.header.watermarkWrite = firstWrite - 1;
    this.#lastWrite = firstWrite - 1;
    try {
      this.#headerWriter.writeNow();
    } catch {
      // What is to follow fails, too, and says so.
    }
  }

  persistFirstWrite(): Promise<void> {
    return this.#headerWriter.write(true);
  }

  /**
   * Joins a record to the log, at once; it belongs to this log from here on. `settle` must follow.
   * @param data at most `MAX_RECORD_DATA` bytes, left alone until the record is appended; undefined for zeroes.
   */
  append(range: Range, data: Buffer | undefined): LogRecord {
    if (data && data.length > MAX_RECORD_DATA) throw new Error(`a record of ${data.length} bytes is too long`);
    const kind = data ? 'data' : 'zero';
    const number = ++this.#lastWrite;
    const head = encodeRecordHeader({ ...range, kind, number, dataCrc: data ? crc32(data) : 0 });
    const position = this.bytes;
    const appended = data ? this.#appender.append(head, data) : this.#appender.append(head);
    const record: OpenRecord = { number, position, end: this.bytes, appended, settled: false };
    this.#open.push(record);
    return record;
  }

  /** The disk write of this record has ended, well or not. */
  settle(record: LogRecord): void {
    (record as OpenRecord).settled = true;
    const open = this.#open;
    while (this.#openHead < open.length && open[this.#openHead]!.settled) {
      const { end, number } = open[this.#openHead]!;
      this.header.watermark = end;
      this.header.watermarkWrite = number;
      this.#openHead += 1;
    }
    if (this.#openHead === open.length) {
      open.length = 0;
      this.#openHead = 0;
      this.#idle?.resolve();
    } else if (this.#openHead >= 1024) {
      open.splice(0, this.#openHead);
      this.#openHead = 0;
    }
    if (this.header.watermark - this.#persistedWatermark >= WATERMARK_STEP) {
      this.#persistedWatermark = this.header.watermark;
      // An old watermark only means more to replay.
      this.#headerWriter.write(false).catch(() => undefined);
    }
  }

  /**
   * Waits until every record is in the file and its disk write has ended, then closes the log for good.
   * @throws the errno of an append that failed.
   */
  async seal(at: number, final: boolean): Promise<void> {
    // The content first: a header that says "sealed" must not reach the platter before what it speaks of.
    await this.sync();
    this.header.sealed = { at, final, lastWrite: this.#lastWrite, length: this.bytes };
    await this.#headerWriter.write(true);
    await this.handle.close();
  }

  /**
   * Remembers that this log does not tell the whole difference. Resolves when that is on stable storage, in space the
   * log has had from the start.
   */
  async mark(cause: string): Promise<void> {
    this.header.resyncCause ??= cause;
    await this.#headerWriter.writeTwice();
  }

  /**
   * Remembers, on stable storage, what the disk's file is while nobody has it open. Every write has ended, and the disk
   * has been flushed: nothing of this log is left to be replayed.
   */
  async rest(identity: FileIdentity): Promise<void> {
    this.header.rest = identity;
    await this.#headerWriter.write(true);
  }

  /** Forgets it, on stable storage: to be done before the disk is written again. @param file the one it is now. */
  async wake(file: string | undefined): Promise<void> {
    if (!this.header.rest && this.header.file === file) return;
    delete this.header.rest;
    setFile(this.header, file);
    await this.#headerWriter.write(true);
  }

  /** Gives the space of the content back. For a marked log that nothing joins any more. */
  async discard(): Promise<void> {
    await this.#appender.idle();
    await this.handle.truncate(LOG_HEADER_BYTES);
    this.#appender.rewind(LOG_HEADER_BYTES);
  }

  /**
   * Waits until every record is in the file and its disk write has ended, and stores them. Once that has failed it
   * fails for good: the system tells only once what it could not store.
   */
  async sync(): Promise<void> {
    if (this.#open.length > 0) {
      this.#idle ??= deferred<void>();
      await this.#idle.promise;
      this.#idle = undefined;
    }
    await this.#appender.drained();
    await this.#headerWriter.syncContent();
  }

  /** Puts the log down in order, to be gone on with by `reopen`, after a restart of the machine too. */
  async close(): Promise<void> {
    if (this.header.resyncCause === undefined) {
      await this.sync();
      this.header.closed = { lastWrite: this.#lastWrite, length: this.bytes };
      await this.#headerWriter.write(true);
    }
    await this.abandon();
  }

  /** Closes the file and says nothing about it. */
  async abandon(): Promise<void> {
    await this.#appender.idle();
    await this.#headerWriter.idle();
    await this.handle.close();
  }
}
