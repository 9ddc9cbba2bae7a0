/**
 * The undo journals of one page blob, oldest first, as they lie on the disk while the blob's lock is held. A block as it
 * was at a snapshot is in the snapshot's own journal, or else in the next newer that holds it, or else in the blob.
 *
 * A journal folder is named by its snapshot's id; `.deleting` is added when the snapshot is deleted but an older one
 * still needs blocks of it. Such a journal takes nothing in any more.
 */
import { readdir, type FileHandle } from 'node:fs/promises';
import path from 'node:path';
import type { BlockRun } from '../../disks/block-bitmap.js';
import { dataRanges } from '../../disks/native.js';
import { readAt } from '../../disks/positional-io.js';
import { syncFolder } from '../../disks/sync-folder.js';
import { CatalogueError } from '../../domain/errors.js';
import { intersect, mergeRanges, type Range } from '../../domain/ranges.js';
import { readBlobRecord, sizeAtSnapshot, type BlobRecord } from './replica-store-blob-record.js';
import { unlessMissing } from './replica-store-errors.js';
import type { OpenJournals } from './replica-store-journal-files.js';
import { UNDO_BLOCK, UndoJournal, blocksOf, bytesOf, journalLengths } from './undo-journal.js';

export interface ChainLink {
  readonly id: string;
  readonly deleting: boolean;
  readonly folder: string;
}

const LINK_NAME = /^(\d{10}-[0-9a-f]{8})(\.deleting)?$/;

/** @returns the journals of a blob, oldest first; none when there is no such blob. */
export async function listChain(journals: string): Promise<ChainLink[]> {
  const links: ChainLink[] = [];
  for (const entry of await unlessMissing(readdir(journals), [])) {
    const match = LINK_NAME.exec(entry);
    if (match) links.push({ id: match[1]!, deleting: match[2] !== undefined, folder: path.join(journals, entry) });
  }
  return links.sort((a, b) => (a.id < b.id ? -1 : 1));
}

export class UndoChain {
  readonly #open = new Map<string, { readonly journal: UndoJournal; readonly release: () => Promise<void> }>();
  #record: BlobRecord | undefined;

  private constructor(
    private readonly journals: string,
    private readonly links: readonly ChainLink[],
    private readonly blob: FileHandle,
    private readonly size: number,
    private readonly access: 'read' | 'write',
    private readonly openJournals: OpenJournals,
  ) {}

  /** Gives `work` the chain of an open blob, whose lock the caller holds. */
  static async with<T>(
    journals: string,
    blob: FileHandle,
    access: 'read' | 'write',
    openJournals: OpenJournals,
    work: (chain: UndoChain) => Promise<T>,
  ): Promise<T> {
    const { size } = await blob.stat();
    const chain = new UndoChain(journals, await listChain(journals), blob, size, access, openJournals);
    try {
      return await work(chain);
    } finally {
      for (const { release } of chain.#open.values()) await release();
    }
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

  /** Fills `target` with what the blob held at the snapshot. @throws CatalogueError InvalidReplicaState */
  async read(snapshot: string, target: Buffer, offset: number): Promise<void> {
    const range: Range = { offset, length: target.length };
    const part = (of: Range) => target.subarray(of.offset - offset, of.offset - offset + of.length);
    const rest = await this.#resolve(snapshot, range, async (journal, held) => {
      await journal.read(part(held), held.offset);
    });
    for (const live of rest) await readExactly(this.blob, part(live), live.offset);
  }

  /** Where the blob may have held anything but zeroes at the snapshot. @throws CatalogueError InvalidReplicaState */
  async dataRanges(snapshot: string, range: Range): Promise<Range[]> {
    const found: Range[] = [];
    const rest = await this.#resolve(snapshot, range, async (journal, held) => {
      found.push(...journal.dataRanges(held));
    });
    for (const live of rest) found.push(...dataRanges(this.blob.fd, live));
    return mergeRanges(found);
  }

  /**
   * Copies blocks of a snapshot that is being deleted into the next older one that needs them.
   * @param fromBlock where the last call stopped. @param limit bytes to copy at most.
   * @returns the block to go on from; undefined when no older snapshot needs this journal any more.
   */
  async moveToOlder(link: ChainLink, fromBlock: number, limit: number): Promise<number | undefined> {
    const index = this.links.findIndex((other) => other.id === link.id);
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
    await source.release(missing);
    const last = wanted.at(-1);
    return last && left === 0 ? last.start + last.count : undefined;
  }

  /** @throws CatalogueError InvalidReplicaState */
  #liveIndex(snapshot: string): number {
    const index = this.links.findIndex((link) => link.id === snapshot && !link.deleting);
    if (index >= 0) return index;
    throw new CatalogueError('InvalidReplicaState', `${this.journals}: there is no snapshot ${snapshot}`);
  }

  #newestLive(): number {
    return this.links.findLastIndex((link) => !link.deleting);
  }

  async #resolve(
    snapshot: string,
    range: Range,
    use: (journal: UndoJournal, held: Range) => Promise<void>,
  ): Promise<Range[]> {
    const first = this.#liveIndex(snapshot);
    let rest: BlockRun[] = [blocksOf(range)];
    for (const link of this.links.slice(first)) {
      if (rest.length === 0) break;
      const journal = await this.#journal(link);
      const parts = await journal.split(rest);
      for (const run of parts.held) await use(journal, this.#within(run, range));
      rest = parts.rest;
    }
    return rest.map((run) => this.#within(run, range));
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
    this.#record ??= await readBlobRecord(this.journals);
    return sizeAtSnapshot(this.#record, id);
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
