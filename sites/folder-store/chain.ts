/**
 * The undo journals of one page blob, oldest first, as they lie on the disk at one moment. A block as it was at a snapshot
 * is in the snapshot's own journal, or else in the next newer that holds it, or else in the blob. So without one journal its
 * own snapshot and all older ones would be read wrong: the blob's record says which have to be there.
 *
 * A journal folder is named by its snapshot's id. A file `<id>.deleting` beside it says that the snapshot is deleted, but
 * an older one may still need blocks of the journal, which takes nothing in any more. (Formerly the folder was renamed.)
 *
 * Whoever changes something holds the blob's lock. Readers hold none, so that none can hold up a writer: they look where
 * the blocks are, read them, and look again. A block is kept before it is overwritten, and given back only after an older
 * journal has it: what was read from where it still is, is what it was.
 */
import type { FileHandle } from 'node:fs/promises';
import path from 'node:path';
import type { BlockRun } from '../../disks/block-bitmap.js';
import { dataRanges } from '../../disks/native.js';
import { readAt } from '../../disks/positional-io.js';
import { syncFolder } from '../../disks/sync-folder.js';
import { CatalogueError } from '../../domain/errors.js';
import { intersect, mergeRanges, type Range } from '../../domain/ranges.js';
import { numberOfSnapshot, readBlobRecord, sizeAtSnapshot, snapshotId } from './blob-record.js';
import { readChain, type ChainLink, type ChainState } from './chain-state.js';
import type { OpenJournals } from './journal-files.js';
import { UNDO_BLOCK, UndoJournal, blocksOf, bytesOf, journalLengths } from './undo-journal.js';

/** Part of a range of a snapshot, and the journal that holds it; the blob itself does when there is none. */
export interface Place extends Range {
  readonly journal?: string;
}

export class UndoChain {
  readonly #open = new Map<string, { readonly journal: UndoJournal; readonly release: () => Promise<void> }>();

  private constructor(
    private readonly journals: string,
    readonly state: ChainState,
    private readonly blob: FileHandle,
    private readonly size: number,
    private readonly access: 'read' | 'write',
    private readonly openJournals: OpenJournals,
  ) {}

  /**
   * Gives `work` the chain of an open blob. For writing the caller holds the blob's lock.
   * @param settle is told before the chain is used.
   */
  static async with<T>(
    journals: string,
    blob: FileHandle,
    access: 'read' | 'write',
    openJournals: OpenJournals,
    work: (chain: UndoChain) => Promise<T>,
    settle?: (state: ChainState) => Promise<void>,
  ): Promise<T> {
    const { size } = await blob.stat();
    const state = await readChain(journals);
    await settle?.(state);
    const chain = new UndoChain(journals, state, blob, size, access, openJournals);
    try {
      return await work(chain);
    } finally {
      for (const { release } of chain.#open.values()) await release();
    }
  }

  private get links(): readonly ChainLink[] {
    return this.state.links;
  }

  /** The blocks among these that must be kept before they are overwritten. Empty: all is durable that makes it so. */
  async unkept(runs: readonly BlockRun[]): Promise<BlockRun[]> {
    const holders = this.links.slice(this.#newestLive());
    if (this.#newestLive() < 0) return [];
    // A mark whose maker died may not be durable yet, and without it this snapshot would want its blocks.
    if (holders.length > 1) await syncFolder(this.journals);
    // What was behind its end at the snapshot, nobody can ask for.
    let rest: readonly BlockRun[] = within(runs, (await this.#journal(holders[0]!)).size);
    for (const link of holders) {
      const journal = await this.#journal(link);
      rest = (await journal.split(rest)).rest;
    }
    if (rest.length === 0) for (const link of holders) await (await this.#journal(link)).sync();
    return [...rest];
  }

  /** Keeps blocks, durably, so that they may be overwritten. The caller holds the lock exclusively. */
  async keep(runs: readonly BlockRun[]): Promise<void> {
    const missing = await this.unkept(runs);
    if (missing.length === 0) return;
    const newest = await this.#journal(this.links[this.#newestLive()]!);
    await newest.keep(missing, async (target, offset) => await readExactly(this.blob, target, offset));
  }

  /** Bytes the blob had at the snapshot. @throws CatalogueError InvalidReplicaState when there is no such snapshot. */
  async sizeAt(snapshot: string): Promise<number> {
    return await this.#sizeOf(this.links[this.#liveIndex(snapshot)]!);
  }

  /** Where a range of a snapshot is just now, in order. @throws CatalogueError InvalidReplicaState */
  async locate(snapshot: string, range: Range): Promise<Place[]> {
    const places: Place[] = [];
    let rest: BlockRun[] = [blocksOf(range)];
    for (const link of this.links.slice(this.#liveIndex(snapshot))) {
      if (rest.length === 0) break;
      const parts = await (await this.#journal(link)).split(rest);
      for (const run of parts.held) places.push({ ...this.#within(run, range), journal: link.id });
      rest = parts.rest;
    }
    for (const run of rest) places.push(this.#within(run, range));
    return places.sort((a, b) => a.offset - b.offset);
  }

  /** Fills `target`, which begins at `offset`, with what is at these places. */
  async read(places: readonly Place[], target: Buffer, offset: number): Promise<void> {
    for (const place of places) {
      const part = target.subarray(place.offset - offset, place.offset - offset + place.length);
      const journal = await this.#at(place);
      if (journal) await journal.read(part, place.offset);
      else await readExactly(this.blob, part, place.offset);
    }
  }

  /** Where there may be anything but zeroes at these places. */
  async dataRanges(places: readonly Place[]): Promise<Range[]> {
    const found: Range[] = [];
    for (const place of places) {
      const journal = await this.#at(place);
      found.push(...(journal ? journal.dataRanges(place) : dataRanges(this.blob.fd, place)));
    }
    return mergeRanges(found);
  }

  /**
   * Copies blocks of a snapshot that is being deleted into the next older one that needs them.
   * @param fromBlock where the last call stopped. @param limit bytes to copy at most.
   * @returns the block to go on from; undefined when no older snapshot needs this journal any more.
   */
  async moveToOlder(link: ChainLink, fromBlock: number, limit: number): Promise<number | undefined> {
    const index = this.links.findIndex((other) => other.id === link.id);
    // One that can't be read has nothing that anybody could use.
    if (index < 0) return undefined;
    const target = this.links.findLastIndex((other, at) => at < index && !other.deleting);
    if (target < 0) return undefined;
    const source = await this.#journal(link);
    const wanted: BlockRun[] = [];
    let left = Math.ceil(limit / UNDO_BLOCK);
    for await (const run of source.heldFrom(fromBlock)) {
      const count = Math.min(left, run.count);
      wanted.push({ start: run.start, count });
      left -= count;
      if (left === 0) break;
    }
    const into = await this.#journal(this.links[target]!);
    let missing: readonly BlockRun[] = within(wanted, into.size);
    for (const older of this.links.slice(target, index)) {
      missing = (await (await this.#journal(older)).split(missing)).rest;
    }
    if (missing.length > 0) await into.keep(missing, async (bytes, offset) => await source.read(bytes, offset));
    // What older ones hold already is about to go here: that they hold it must outlive the machine.
    for (const older of this.links.slice(target, index)) await (await this.#journal(older)).sync();
    await source.release(missing);
    const last = wanted.at(-1);
    return last && left === 0 ? last.start + last.count : undefined;
  }

  /** @throws CatalogueError InvalidReplicaState */
  #liveIndex(snapshot: string): number {
    const index = this.links.findIndex((link) => link.id === snapshot && !link.deleting);
    if (index >= 0) return index;
    const { record, lostUpTo } = this.state;
    if (
      record &&
      numberOfSnapshot(snapshot) <= lostUpTo &&
      snapshot === snapshotId(record, numberOfSnapshot(snapshot))
    ) {
      const lost = snapshotId(record, lostUpTo);
      const detail = `${path.join(this.journals, lost)} is lost, and without it snapshot ${snapshot} can't be read`;
      throw new CatalogueError('InvalidReplicaState', detail);
    }
    throw new CatalogueError('InvalidReplicaState', `${this.journals}: there is no snapshot ${snapshot}`);
  }

  #newestLive(): number {
    return this.links.findLastIndex((link) => !link.deleting);
  }

  async #at(place: Place): Promise<UndoJournal | undefined> {
    const link = this.links.find(({ id }) => id === place.journal);
    return link && (await this.#journal(link));
  }

  #within(run: BlockRun, range: Range): Range {
    return intersect(bytesOf(run, this.size), range)!;
  }

  async #journal(link: ChainLink): Promise<UndoJournal> {
    let opened = this.#open.get(link.id);
    if (!opened) {
      const key = path.join(this.journals, link.id);
      const size = await this.#sizeOf(link);
      const { files, release } = await this.openJournals.use(key, link.folder, this.access, journalLengths(size));
      this.#open.set(link.id, (opened = { journal: new UndoJournal(size, files), release }));
    }
    return opened.journal;
  }

  async #sizeOf({ id }: ChainLink): Promise<number> {
    return sizeAtSnapshot(this.state.record ?? (await readBlobRecord(this.journals)), id);
  }
}

/** What of these blocks a blob of `size` bytes has. */
function within(runs: readonly BlockRun[], size: number): BlockRun[] {
  const { count: stop } = blocksOf({ offset: 0, length: size });
  return runs.flatMap(({ start, count }) => (start < stop ? [{ start, count: Math.min(count, stop - start) }] : []));
}

/** @throws CatalogueError InvalidReplicaState when the file ends before. */
export async function readExactly(file: FileHandle, target: Buffer, offset: number): Promise<void> {
  const count = await readAt(file, target, offset);
  if (count === target.length) return;
  throw new CatalogueError(
    'InvalidReplicaState',
    `it ends at byte ${offset + count}, ${offset + target.length} expected`,
  );
}
