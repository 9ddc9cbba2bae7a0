/**
 * A disk as a guest sees it: above the whole chain, so that merging a snapshot below logs nothing. Writes that overlap
 * are kept in one order, which is the order of the log and of the disk: a record joins the log, is appended, then the
 * disk is written, then the next one that overlaps may begin.
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

/** What a disk tells the tracker of its VM. */
export interface TrackerOfDisk {
  /** Set when the logs no longer tell the whole difference; nothing is logged then. */
  readonly resyncCause: string | undefined;
  /** Resolves once a restart cannot mistake the logs for whole any more. */
  mark(cause: string): Promise<void>;
  /** The log of this disk has grown. */
  appended(disk: TrackedDisk): void;
  readonly room: RoomBeside;
}

/** For a disk whose writes nobody wants to know. */
export const UNTRACKED: TrackerOfDisk = {
  resyncCause: undefined,
  mark: () => Promise.resolve(),
  appended: () => undefined,
  room: NO_ROOM,
};

/** Whole sectors; `data` undefined for zeroes. */
interface Piece extends Range {
  readonly data: Buffer | undefined;
}

export class TrackedDisk implements VirtualDisk {
  readonly name: string;
  /** The disk's file: its logs lie beside it. */
  readonly path: string;
  /** Bytes. */
  readonly size: number;
  /** The open log. Only the tracker sets it; undefined while the VM is not replicated. */
  log: ChangeLog | undefined;
  /** Its file as it was put down, while nobody has it open. Only the tracker sets it. */
  rest: FileIdentity | undefined;
  /** Which file it is, as `fileKey` tells. Only the tracker sets it; undefined where that can't be told. */
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

  /** @throws CatalogueError InvalidVmState while nothing is attached. */
  get chain(): VirtualDisk {
    if (!this.#chain) throw new CatalogueError('InvalidVmState', `disk ${this.name} is closed, its VM is off`);
    return this.#chain;
  }

  /** Puts another chain below; nothing may be in flight. @throws CatalogueError BrokenChain when it has another size. */
  attach(chain: VirtualDisk): void {
    if (chain.size !== this.size) {
      throw new CatalogueError('BrokenChain', `${this.path} has ${chain.size} bytes, not ${this.size} as before`);
    }
    this.#chain = chain;
  }

  /** Takes the chain away, for its owner to close: requests are refused from here on. */
  detach(): void {
    this.#chain = undefined;
  }

  /** Holds new requests back; resolves when nothing is in flight. */
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

  /** Syncs the disk. The log is synced when it is sealed: a lost machine means resynchronization anyway. */
  flush(): Promise<void> {
    return this.#run(() => this.#sync(this.chain));
  }

  /** As `flush`, for whoever holds requests back. While nothing is attached: nothing. */
  async sync(): Promise<void> {
    if (this.#chain) await this.#sync(this.#chain);
  }

  /** A failure marks the VM first: what the system could not store it may forget, and the disk is older than its log then. */
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

  /** The chain is its owner's to close. */
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

  /** Bytes that a change takes in the log. */
  #logGrowth(pieces: readonly Piece[]): number {
    if (!this.log || this.tracker.resyncCause !== undefined) return 0;
    return pieces.reduce((sum, { length, data }) => sum + recordsBytes(length, data !== undefined), 0);
  }

  async #logAndWrite(pieces: readonly Piece[]): Promise<void> {
    const { chain, log } = this;
    // Which log a write belongs to is decided here, at once for all of it.
    const records = log && this.tracker.resyncCause === undefined ? this.#join(log, pieces) : undefined;
    try {
      if (records) await this.#awaitAppended(records);
      else if (log) await this.tracker.mark(this.tracker.resyncCause!);
      for (const piece of pieces) await this.#put(chain, piece);
    } catch (error) {
      // Whatever is on the disk now: the log says otherwise.
      if (log) await this.tracker.mark(couldNotBeWritten(this.name, error));
      throw error;
    } finally {
      if (log) for (const record of records ?? []) log.settle(record);
    }
  }

  /** Where the volume is full, all that replication has beside the disk goes before the guest is told of it. */
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
      // Tracking ends here; the guest goes on.
      await this.tracker.mark(`the change log of disk ${this.name} could not be written: ${(error as Error).message}`);
    }
  }

  /** Widens a write to whole sectors: what is around it is read, and kept in place by the range lock. */
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

/** Bytes that the records of one piece take in a log. */
const recordsBytes = (length: number, isData: boolean): number =>
  isData ? length + RECORD_HEADER_BYTES * Math.ceil(length / MAX_RECORD_DATA) : RECORD_HEADER_BYTES;
