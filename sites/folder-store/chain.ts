/**
 * The undo journals of one page blob, oldest first, as they are at one moment. The content of a block at a snapshot is
 * in the snapshot's own journal, or in the next newer one that has the block, or in the blob. So if one journal were
 * missing, its snapshot and all older ones would be read wrong: the blob's record says which journals must exist.
 *
 * A journal folder is named after its snapshot's id. A file `<id>.deleting` beside it means that the snapshot is
 * deleted, but that an older one may still need blocks of the journal, which accepts no more blocks. (Formerly the
 * folder was renamed.)
 *
 * Writers hold the blob's lock. Readers hold none, so that they cannot delay a writer: they locate the blocks, read
 * them, and locate them again. A block is kept before it is overwritten, and removed from a journal only after an older
 * one has it: so if its location has not changed, the data read is right.
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

/** Part of a range of a snapshot, with the journal that has it; without a journal, it is in the blob itself. */
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
   * Calls `work` with the chain of an open blob. For writing, the caller holds the blob's lock.
   * @param settle is called before the chain is used.
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

  /**
   * Those of the blocks that must be kept before they are overwritten. If empty, everything required for that is
   * durable.
   */
  async unkept(runs: readonly BlockRun[]): Promise<BlockRun[]> {
    const holders = this.links.slice(this.#newestLive());
    if (this.#newestLive() < 0) return [];
    // A deletion mark whose maker died may not be durable yet; without it, this snapshot would need the blocks.
    if (holders.length > 1) await syncFolder(this.journals);
    // Blocks behind the blob's end at the snapshot are never read.
    let rest: readonly BlockRun[] = within(runs, (await this.#journal(holders[0]!)).size);
    for (const link of holders) {
      const journal = await this.#journal(link);
      rest = (await journal.split(rest)).rest;
    }
    if (rest.length === 0) for (const link of holders) await (await this.#journal(link)).sync();
    return [...rest];
  }

  /** Keeps blocks durably, so that they may be overwritten. The caller holds the lock exclusively. */
  async keep(runs: readonly BlockRun[]): Promise<void> {
    const missing = await this.unkept(runs);
    if (missing.length === 0) return;
    const newest = await this.#journal(this.links[this.#newestLive()]!);
    await newest.keep(missing, async (target, offset) => await readExactly(this.blob, target, offset));
  }

  /**
   * Size of the blob at the snapshot, bytes. @throws CatalogueError InvalidReplicaState if there is no such snapshot.
   */
  async sizeAt(snapshot: string): Promise<number> {
    return await this.#sizeOf(this.links[this.#liveIndex(snapshot)]!);
  }

  /** The current locations of a snapshot's range, in order. @throws CatalogueError InvalidReplicaState */
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

  /** Fills `target`, which begins at `offset`, with the data at these places. */
  async read(places: readonly Place[], target: Buffer, offset: number): Promise<void> {
    for (const place of places) {
      const part = target.subarray(place.offset - offset, place.offset - offset + place.length);
      const journal = await this.#at(place);
      if (journal) await journal.read(part, place.offset);
      else await readExactly(this.blob, part, place.offset);
    }
  }

  /** The ranges at these places that may contain anything but zeroes. */
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
   * @param fromBlock where the last call stopped. @param limit of bytes to copy.
   * @returns the block to continue from; undefined if no older snapshot needs this journal any more.
   */
  async moveToOlder(link: ChainLink, fromBlock: number, limit: number): Promise<number | undefined> {
    const index = this.links.findIndex((other) => other.id === link.id);
    // An unreadable journal has nothing of use.
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
    // Blocks that older journals also have are removed here; that they have them must survive the loss of the machine.
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

/** The blocks that are within a blob of `size` bytes. */
function within(runs: readonly BlockRun[], size: number): BlockRun[] {
  const { count: stop } = blocksOf({ offset: 0, length: size });
  return runs.flatMap(({ start, count }) => (start < stop ? [{ start, count: Math.min(count, stop - start) }] : []));
}

/** @throws CatalogueError InvalidReplicaState if the file is too short. */
export async function readExactly(file: FileHandle, target: Buffer, offset: number): Promise<void> {
  const count = await readAt(file, target, offset);
  if (count === target.length) return;
  throw new CatalogueError(
    'InvalidReplicaState',
    `it ends at byte ${offset + count}, ${offset + target.length} expected`,
  );
}
