/**
 * Page blobs: plain sparse files, so that any program that reads VHDs can open one that is a fixed VHD. Beside each is
 * a folder `<blob>.undo/` with `blob.json` and one undo journal for each snapshot.
 */
import { stat, type FileHandle } from 'node:fs/promises';
import path from 'node:path';
import type { BlockRun } from '../../disks/block-bitmap.js';
import { fitsDirectIo, openDirect, writeDirect } from '../../disks/direct-io.js';
import { dataRanges, punchHole, type LockMode } from '../../disks/native.js';
import { writeAt } from '../../disks/positional-io.js';
import { CatalogueError } from '../../domain/errors.js';
import { mergeRanges, overlaps, splitRange, totalLength, type Range } from '../../domain/ranges.js';
import type { DiskWrite } from '../../ports/replica-disks.js';
import type { ScopeAccess } from './access.js';
import { createBlobRecord, grownRecord, readBlobRecord, replaceBlobRecord } from './blob-record.js';
import { missingBlob, withBlobFile } from './blob-file.js';
import { UndoChain } from './chain.js';
import { recordWith, type ChainState } from './chain-state.js';
import { unlessMissing } from './folder-errors.js';
import { inParallel } from '../../concurrency/in-parallel.js';
import type { OpenJournals } from './journal-files.js';
import type { StoreLayout } from './names.js';
import { checkPages, checkSize, rangeOf } from '../page-requests.js';
import { blocksOf } from './undo-journal.js';

/** Bytes that are written under one lock and synced together: a fence may have to wait for them. */
const BATCH = 16 * 1024 * 1024;
/** Limit of writes in a batch, because the cost of small ones depends on their number. */
const BATCH_WRITES = 4096;
/** Bytes cleared in one call. */
const LARGEST_CLEAR = 1024 * 1024 * 1024;
const LANES = 4;
/** Written where holes cannot be punched. */
const ZEROES = Buffer.alloc(1024 * 1024);

export class PageFiles {
  constructor(
    private readonly layout: StoreLayout,
    private readonly openJournals: OpenJournals,
  ) {}

  async create(access: ScopeAccess, name: string, size: number): Promise<void> {
    checkSize(name, size);
    const { files } = access;
    const file = this.layout.file(name);
    await files.makeFolder(path.dirname(file));
    await access.withBlobLock(name, 'exclusive', async () => {
      const found = await this.#sizeOf(name);
      if (found !== undefined && found !== size) {
        throw new CatalogueError('InvalidReplicaState', `${name} has ${found} bytes; ${size} were asked for`);
      }
      if (found === undefined) {
        // Left by an interrupted deletion or creation.
        await files.discard(this.layout.journals(name));
        await files.withTemporaryFolder(async (folder) => {
          await createBlobRecord(folder.path, size);
          await files.publish(folder, this.layout.journals(name));
        });
        await files.withTemporaryFile(async (blob) => {
          await blob.handle.truncate(size);
          await blob.handle.sync();
          await files.publish(blob, file);
        });
      } else await files.syncFolders(path.dirname(file));
    });
  }

  /**
   * Replaces the record first: a blob never has a new size without the record that gives the sizes of its snapshots.
   */
  async resize(access: ScopeAccess, name: string, size: number): Promise<void> {
    checkSize(name, size);
    await this.withBlob(access, name, 'exclusive', 'write', async (blob, { state }) => {
      const journals = this.layout.journals(name);
      const record = await readBlobRecord(journals);
      const found = (await blob.stat()).size;
      if (size < found || size < record.size) {
        const detail = `${name} has ${found} bytes and cannot be made smaller; ${size} were asked for`;
        throw new CatalogueError('InvalidReplicaState', detail);
      }
      if (record.size < size)
        await replaceBlobRecord(journals, grownRecord(recordWith(record, state), size), access.files);
      // Also if it already has that size: the process that set it may have failed to sync it.
      await blob.truncate(size);
      await blob.sync();
    });
  }

  /** Bytes; undefined if there is no such blob. @throws CatalogueError InvalidReplicaState if it is an object. */
  async size(name: string): Promise<number | undefined> {
    return await this.#sizeOf(name);
  }

  /**
   * Checks a request and divides it into batches, which are written separately. @throws CatalogueError
   * InvalidReplicaState
   */
  async batches(name: string, writes: readonly DiskWrite[]): Promise<DiskWrite[][]> {
    return await withBlobFile(this.layout, name, 'read', async (blob) => {
      const { size } = await blob.stat();
      for (const write of writes) checkPages(name, size, rangeOf(write));
      const batches: DiskWrite[][] = [];
      let left = 0;
      for (const { piece, cost } of writes.flatMap((write) => cutToBatch(blob, write))) {
        if (batches.length === 0 || left < cost || batches.at(-1)!.length === BATCH_WRITES) {
          batches.push([]);
          left = BATCH;
        }
        batches.at(-1)!.push(piece);
        left -= cost;
      }
      return batches;
    });
  }

  /** Writes one batch durably. Blocks that a snapshot needs are kept first, under an exclusive lock. */
  async write(access: ScopeAccess, name: string, batch: readonly DiskWrite[]): Promise<void> {
    for (;;) {
      const written = await this.withBlob(access, name, 'shared', 'write', async (blob, chain) => {
        const blocks = blocksToKeep(blob, batch);
        if ((await chain.unkept(blocks)).length > 0) return false;
        await this.#writeAll(name, blob, batch);
        await blob.datasync();
        return true;
      });
      if (written) return;
      // In a loop: between the two locks, another snapshot may be taken, which needs the blocks as well.
      await this.withBlob(access, name, 'exclusive', 'write', async (blob, chain) => {
        await chain.keep(blocksToKeep(blob, batch));
      });
    }
  }

  /**
   * Deletes the file first: journals without a blob are harmless, but a blob without its journals has unreadable
   * snapshots.
   */
  async delete(access: ScopeAccess, name: string): Promise<void> {
    const { files } = access;
    const folder = path.dirname(this.layout.file(name));
    if (!(await this.#leftOf(name))) return await files.syncFolders(folder);
    await access.withBlobLock(name, 'exclusive', async () => {
      if (await this.#sizeOf(name)) await files.discard(this.layout.file(name));
      await files.syncFolders(folder);
      await files.discard(this.layout.journals(name));
    });
  }

  /** Opens a blob and its chain under its lock. @throws CatalogueError InvalidReplicaState if there is no such blob. */
  async withBlob<T>(
    access: ScopeAccess,
    name: string,
    lock: LockMode,
    files: 'read' | 'write',
    work: (blob: FileHandle, chain: UndoChain) => Promise<T>,
  ): Promise<T> {
    // Check first: the folder of the lock may not exist.
    if ((await this.#sizeOf(name)) === undefined) throw missingBlob(name);
    const journals = this.layout.journals(name);
    const settle = async (state: ChainState) => {
      if (files === 'write') await this.#giveUpLost(journals, state, access);
    };
    return await access.withBlobLock(name, lock, () =>
      withBlobFile(this.layout, name, files, (blob) =>
        UndoChain.with(journals, blob, files, this.openJournals, (chain) => work(blob, chain), settle),
      ),
    );
  }

  /**
   * Pages are about to be written without a missing journal, so it will lack blocks and be wrong even if it reappears:
   * records its snapshots as lost. Repeatable, also in parallel.
   */
  async #giveUpLost(journals: string, state: ChainState, { files }: ScopeAccess): Promise<void> {
    const { record, lostUpTo } = state;
    if (!record || lostUpTo === (record.lostUpTo ?? 0)) return;
    await replaceBlobRecord(journals, { ...recordWith(record, state), lostUpTo }, files);
  }

  async #writeAll(name: string, blob: FileHandle, batch: readonly DiskWrite[]): Promise<void> {
    // Of two writes to the same page, the later one must win.
    const sorted = batch.map(rangeOf).sort((a, b) => a.offset - b.offset);
    const overlapping = sorted.some((range, index) => index > 0 && overlaps(sorted[index - 1]!, range));
    const fits = batch.some((write) => 'data' in write && fitsDirectIo(write.data, write.offset));
    const direct = fits ? await openDirect(this.layout.file(name), 'write') : undefined;
    try {
      await inParallel(batch, overlapping ? 1 : LANES, async (write) => {
        if ('data' in write) await writePages(blob, direct, write.data, write.offset);
        else await clearPages(blob, rangeOf(write));
      });
    } finally {
      await direct?.close();
    }
  }

  async #sizeOf(name: string): Promise<number | undefined> {
    const found = await unlessMissing(stat(this.layout.file(name)), undefined);
    if (!found) return undefined;
    if (found.isFile() && (await unlessMissing(stat(this.layout.journals(name)), undefined))) return found.size;
    throw new CatalogueError('InvalidReplicaState', `${name} is not a page blob`);
  }

  async #leftOf(name: string): Promise<boolean> {
    if ((await this.#sizeOf(name)) !== undefined) return true;
    return (await unlessMissing(stat(this.layout.journals(name)), undefined)) !== undefined;
  }
}

/** The cost of clearing depends on the data that exists: holes are cleared in large pieces. */
function cutToBatch(blob: FileHandle, write: DiskWrite): { piece: DiskWrite; cost: number }[] {
  if ('data' in write) {
    return [...splitRange(rangeOf(write), BATCH)].map(({ offset, length }) => {
      const at = offset - write.offset;
      return { piece: { offset, data: write.data.subarray(at, at + length) }, cost: length };
    });
  }
  return [...splitRange(rangeOf(write), LARGEST_CLEAR)].flatMap((large) => {
    const cost = totalLength(dataRanges(blob.fd, large));
    const pieces = cost <= BATCH ? [large] : [...splitRange(large, BATCH)];
    return pieces.map(({ offset, length }) => ({ piece: { offset, clear: length }, cost: Math.min(cost, length) }));
  });
}

/** The blocks whose content a batch changes, sorted and without duplicates. Clearing a hole changes nothing. */
function blocksToKeep(blob: FileHandle, batch: readonly DiskWrite[]): BlockRun[] {
  const touched = batch.flatMap((write) => ('data' in write ? [rangeOf(write)] : dataRanges(blob.fd, rangeOf(write))));
  const runs = touched.map(blocksOf).map(({ start, count }) => ({ offset: start, length: count }));
  return mergeRanges(runs).map(({ offset, length }) => ({ start: offset, count: length }));
}

/** @param direct the same file, past the page cache: a replica that is being filled is not read again soon. */
async function writePages(blob: FileHandle, direct: FileHandle | undefined, data: Buffer, at: number): Promise<void> {
  if (direct && fitsDirectIo(data, at) && (await writeDirect(direct, data, at))) return;
  await writeAt(blob, data, at);
}

async function clearPages(blob: FileHandle, range: Range): Promise<void> {
  if (await punchHole(blob.fd, range)) return;
  for (const { offset, length } of splitRange(range, ZEROES.length)) {
    await writeAt(blob, ZEROES.subarray(0, length), offset);
  }
}
