/**
 * A disk as the guest sees it, above the whole chain, so that merging a snapshot below it logs nothing. Overlapping
 * writes have the same order in the log and on the disk: a record joins the log and is appended, then the disk is
 * written, and only then may the next overlapping write begin.
 */
import type { VirtualDisk } from '../disks/disk.js';
import type { FileIdentity } from '../disks/file-identity.js';
import { RangeLock } from '../disks/range-lock.js';
import { CatalogueError } from '../domain/errors.js';
import { alignDown, alignUp, end, splitRange, type Range } from '../domain/ranges.js';
import type { ChangeLog, LogRecord } from './change-log.js';
import { MAX_RECORD_DATA, RECORD_HEADER_BYTES } from './change-log-record.js';
import { deferred, type Deferred } from './deferred.js';
import type { DiskToTrack } from './tracker-options.js';
import { NO_ROOM, type RoomBeside } from './tracker-room.js';

const SECTOR_BYTES = 512;

/** The tracker's interface to its disks. */
export interface TrackerOfDisk {
  /** Set when the logs no longer describe the whole difference; nothing is logged then. */
  readonly resyncCause: string | undefined;
  /** Resolves when a restart can no longer take the logs for complete. */
  mark(cause: string): Promise<void>;
  /** The log of this disk has grown. */
  appended(disk: TrackedDisk): void;
  readonly room: RoomBeside;
}

/** For a disk whose writes are not tracked. */
export const UNTRACKED: TrackerOfDisk = {
  resyncCause: undefined,
  mark: () => Promise.resolve(),
  appended: () => undefined,
  room: NO_ROOM,
};

/** Whole sectors; `data` is undefined for zeroes. */
interface Piece extends Range {
  readonly data: Buffer | undefined;
}

export class TrackedDisk implements VirtualDisk {
  readonly name: string;
  /** The disk's file; its logs are beside it. */
  readonly path: string;
  /** Bytes. */
  readonly size: number;
  /** The open log, set by the tracker; undefined while the VM is not replicated. */
  log: ChangeLog | undefined;
  /** State of its file when it was closed in order, set by the tracker while no process has it open. */
  rest: FileIdentity | undefined;
  /** Identity of its file as returned by `fileKey`, set by the tracker; undefined if it is unknown. */
  file: string | undefined;
  #chain: VirtualDisk | undefined;
  readonly #locks = new RangeLock();
  #inFlight = 0;
  #paused: Deferred<void> | undefined;
  #drained: Deferred<void> | undefined;

  constructor(
    { name, path, chain, file }: DiskToTrack,
    private readonly tracker: TrackerOfDisk,
  ) {
    this.name = name;
    this.path = path;
    this.size = chain.size;
    this.#chain = chain;
    this.file = file;
  }

  /** @throws CatalogueError InvalidVmState while no chain is attached. */
  get chain(): VirtualDisk {
    if (!this.#chain) throw new CatalogueError('InvalidVmState', `disk ${this.name} is closed, its VM is off`);
    return this.#chain;
  }

  /** Replaces the chain below; nothing may be in flight. @throws CatalogueError BrokenChain if it has another size. */
  attach(chain: VirtualDisk): void {
    if (chain.size !== this.size) {
      throw new CatalogueError('BrokenChain', `${this.path} has ${chain.size} bytes, not ${this.size} as before`);
    }
    this.#chain = chain;
  }

  /** Removes the chain, which its owner closes: requests are refused from here on. */
  detach(): void {
    this.#chain = undefined;
  }

  /** Holds back new requests; resolves when nothing is in flight. */
  async pause(): Promise<void> {
    this.#paused ??= deferred();
    if (this.#inFlight === 0) return;
    this.#drained ??= deferred();
    await this.#drained.promise;
  }

  resume(): void {
    this.#paused?.resolve();
    this.#paused = undefined;
  }

  read(target: Buffer, offset: number): Promise<void> {
    return this.#run(() => this.chain.read(target, offset));
  }

  dataRanges(range: Range): Promise<Range[]> {
    return this.#run(() => this.chain.dataRanges(range));
  }

  /**
   * Syncs the disk. The log is synced when it is sealed, because the loss of the machine means a resynchronization
   * anyway.
   */
  flush(): Promise<void> {
    return this.#run(() => this.#sync(this.chain));
  }

  /** As `flush`, for callers that hold requests back. Does nothing while no chain is attached. */
  async sync(): Promise<void> {
    if (this.#chain) await this.#sync(this.#chain);
  }

  /**
   * A failure marks the VM first: the system may forget data that it could not store, and the disk is then older than
   * its log.
   */
  async #sync(chain: VirtualDisk): Promise<void> {
    try {
      await chain.flush();
    } catch (error) {
      await this.tracker.mark(`disk ${this.name} could not be flushed: ${(error as Error).message}`);
      throw error;
    }
  }

  write(data: Buffer, offset: number): Promise<void> {
    return this.#change({ offset, length: data.length }, data);
  }

  writeZeroes(range: Range): Promise<void> {
    return this.#change(range, undefined);
  }

  /** The owner of the chain closes it. */
  close(): Promise<void> {
    this.detach();
    return Promise.resolve();
  }

  async #run<T>(action: () => Promise<T>): Promise<T> {
    while (this.#paused) await this.#paused.promise;
    this.#inFlight += 1;
    try {
      return await action();
    } finally {
      this.#inFlight -= 1;
      if (this.#inFlight === 0) {
        this.#drained?.resolve();
        this.#drained = undefined;
      }
    }
  }

  async #change(range: Range, data: Buffer | undefined): Promise<void> {
    if (range.offset < 0 || end(range) > this.size) {
      throw new RangeError(`${this.path}: ${range.length} bytes at ${range.offset} are not within ${this.size}`);
    }
    if (range.length === 0) return;
    const offset = alignDown(range.offset, SECTOR_BYTES);
    const sectors = { offset, length: alignUp(end(range), SECTOR_BYTES) - offset };
    await this.#run(() =>
      this.#locks.with([sectors], 'exclusive', async () => {
        const pieces = await this.#pieces(range, data);
        const beside = (this.chain.growthOf?.(sectors) ?? 0) + this.#logGrowth(pieces);
        if (beside === 0) return this.#logAndWrite(pieces);
        try {
          const room = this.tracker.room.make(beside);
          if (room) await room;
          await this.#logAndWrite(pieces);
        } finally {
          this.tracker.room.written(beside);
        }
      }),
    );
  }

  /** Number of bytes by which a change makes the log grow. */
  #logGrowth(pieces: readonly Piece[]): number {
    if (!this.log || this.tracker.resyncCause !== undefined) return 0;
    return pieces.reduce((sum, { length, data }) => sum + recordsBytes(length, data !== undefined), 0);
  }

  async #logAndWrite(pieces: readonly Piece[]): Promise<void> {
    const { chain, log } = this;
    // The log of all parts of a write is chosen here, synchronously.
    const records = log && this.tracker.resyncCause === undefined ? this.#join(log, pieces) : undefined;
    try {
      if (records) await this.#awaitAppended(records);
      else if (log) await this.tracker.mark(this.tracker.resyncCause!);
      for (const piece of pieces) await this.#put(chain, piece);
    } catch (error) {
      // The content of the disk is unknown now, so the log must not be trusted.
      if (log) await this.tracker.mark(couldNotBeWritten(this.name, error));
      throw error;
    } finally {
      if (log) for (const record of records ?? []) log.settle(record);
    }
  }

  /** If the volume is full, frees everything that replication stores beside the disk before the guest gets an error. */
  async #put(chain: VirtualDisk, { offset, length, data }: Piece): Promise<void> {
    for (;;) {
      try {
        return await (data ? chain.write(data, offset) : chain.writeZeroes({ offset, length }));
      } catch (error) {
        const isFull = error instanceof CatalogueError && error.code === 'SourceDiskFull';
        if (!isFull || !(await this.tracker.room.free(couldNotBeWritten(this.name, error)))) throw error;
      }
    }
  }

  #join(log: ChangeLog, pieces: readonly Piece[]): LogRecord[] {
    const records: LogRecord[] = [];
    for (const piece of pieces) {
      if (!piece.data) records.push(log.append(piece, undefined));
      else {
        for (const part of splitRange({ offset: 0, length: piece.length }, MAX_RECORD_DATA)) {
          const data = piece.data.subarray(part.offset, end(part));
          records.push(log.append({ offset: piece.offset + part.offset, length: part.length }, data));
        }
      }
    }
    this.tracker.appended(this);
    return records;
  }

  async #awaitAppended(records: readonly LogRecord[]): Promise<void> {
    try {
      for (const record of records) await record.appended;
    } catch (error) {
      // Tracking ends here; the guest keeps running.
      await this.tracker.mark(`the change log of disk ${this.name} could not be written: ${(error as Error).message}`);
    }
  }

  /** Widens a write to whole sectors: reads the bytes around it, which the range lock keeps unchanged. */
  async #pieces(range: Range, data: Buffer | undefined): Promise<Piece[]> {
    if (range.offset % SECTOR_BYTES === 0 && range.length % SECTOR_BYTES === 0) return [{ ...range, data }];
    const pieces: Piece[] = [];
    let at = range.offset;
    while (at < end(range)) {
      const sector = alignDown(at, SECTOR_BYTES);
      const wholeEnd = alignDown(end(range), SECTOR_BYTES);
      if (at === sector && wholeEnd > at) {
        const from = at - range.offset;
        pieces.push({ offset: at, length: wholeEnd - at, data: data?.subarray(from, from + wholeEnd - at) });
        at = wholeEnd;
        continue;
      }
      const content = Buffer.alloc(SECTOR_BYTES);
      await this.chain.read(content, sector);
      const stop = Math.min(end(range), sector + SECTOR_BYTES);
      if (data) data.copy(content, at - sector, at - range.offset, stop - range.offset);
      else content.fill(0, at - sector, stop - sector);
      pieces.push({ offset: sector, length: SECTOR_BYTES, data: content });
      at = stop;
    }
    return pieces;
  }
}

const couldNotBeWritten = (disk: string, error: unknown): string =>
  `disk ${disk} could not be written: ${(error as Error).message}`;

/** Size of one piece's records in a log, bytes. */
const recordsBytes = (length: number, isData: boolean): number =>
  isData ? length + RECORD_HEADER_BYTES * Math.ceil(length / MAX_RECORD_DATA) : RECORD_HEADER_BYTES;
