/**
 * The `.hrl` log of one disk while writes are tracked in it. The file is always a prefix of the records that joined it,
 * so a torn tail contains only records that were never acknowledged.
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

/** Log that may accumulate above the persisted watermark, bytes: a restart has to replay it. */
const WATERMARK_STEP = 32 * 1024 * 1024;

export const logPath = (diskPath: string, epoch: number, sequence: number): string =>
  `${diskPath}.${cycleName(epoch, sequence)}.hrl`;

/** A record that has joined the log. */
export interface LogRecord {
  readonly number: number;
  readonly position: number;
  /** Resolves when a killed process can no longer lose the record; rejects with the errno of the failed append. */
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
  /** Records in order, from the oldest whose disk write is in progress; later ones may be settled already. */
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
   * Creates an empty log, which is on stable storage under its name when this resolves. Replaces a file of that name.
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
        // The whole header is written now, so that marking the log later needs no space.
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
   * Continues a log after a restart; its whole content must be on the disk. Content behind `position` is dropped.
   * @param position end of the last complete record.
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
      // Before anything is discarded: the header may contain the news that the log is marked.
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

  /** Length of the file with all records that joined, bytes. */
  get bytes(): number {
    return this.#appender.position;
  }

  get lastWrite(): number {
    return this.#lastWrite;
  }

  /**
   * From here on, writes may join, numbered from `firstWrite`. The header is updated synchronously, so that a killed
   * process does not lose this; call `persistFirstWrite` afterwards to protect it against the loss of the machine.
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
      // The following call fails too, and reports it.
    }
  }

  persistFirstWrite(): Promise<void> {
    return this.#headerWriter.write(true);
  }

  /**
   * Adds a record to the log synchronously; from here on it belongs to this log. Call `settle` afterwards.
   * @param data at most `MAX_RECORD_DATA` bytes; must not change until the record is appended; undefined for zeroes.
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

  /** The disk write of this record has ended, successfully or not. */
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
    // Sync the content first: a header that says "sealed" must not reach the disk before the content does.
    await this.sync();
    this.header.sealed = { at, final, lastWrite: this.#lastWrite, length: this.bytes };
    await this.#headerWriter.write(true);
    await this.handle.close();
  }

  /**
   * Records that this log does not describe the whole difference. Resolves when that is on stable storage; it needs no
   * additional space.
   */
  async mark(cause: string): Promise<void> {
    this.header.resyncCause ??= cause;
    await this.#headerWriter.writeTwice();
  }

  /**
   * Records the state of the disk's file on stable storage while no process has it open. Every write must have ended
   * and the disk must be flushed, so that nothing in this log has to be replayed.
   */
  async rest(identity: FileIdentity): Promise<void> {
    this.header.rest = identity;
    await this.#headerWriter.write(true);
  }

  /**
   * Removes that state from stable storage; required before the disk is written again. @param file the current file.
   */
  async wake(file: string | undefined): Promise<void> {
    if (!this.header.rest && this.header.file === file) return;
    delete this.header.rest;
    setFile(this.header, file);
    await this.#headerWriter.write(true);
  }

  /** Frees the space of the content of a marked log, to which nothing is added any more. */
  async discard(): Promise<void> {
    await this.#appender.idle();
    await this.handle.truncate(LOG_HEADER_BYTES);
    this.#appender.rewind(LOG_HEADER_BYTES);
  }

  /**
   * Waits until every record is in the file and its disk write has ended, then syncs the log. After a failure, all
   * later calls fail: the system reports only once that it could not store data.
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

  /** Closes the log in order, so that `reopen` can continue it, even after a restart of the machine. */
  async close(): Promise<void> {
    if (this.header.resyncCause === undefined) {
      await this.sync();
      this.header.closed = { lastWrite: this.#lastWrite, length: this.bytes };
      await this.#headerWriter.write(true);
    }
    await this.abandon();
  }

  /** Closes the file without updating its header. */
  async abandon(): Promise<void> {
    await this.#appender.idle();
    await this.#headerWriter.idle();
    await this.handle.close();
  }
}
