/** Reads page blobs and their snapshots without a lock, so that a reader delays no writer and needs no write access. */
import { isDeepStrictEqual } from 'node:util';
import { readPastCache } from '../../disks/direct-io.js';
import { dataRanges } from '../../disks/native.js';
import { CatalogueError } from '../../domain/errors.js';
import type { Range } from '../../domain/ranges.js';
import { checkRange } from '../page-requests.js';
import type { PageRangeOptions, PageReadOptions } from '../page-blobs.js';
import { withBlobFile } from './blob-file.js';
import { UndoChain, readExactly, type Place } from './chain.js';
import { listChain } from './chain-state.js';
import { unlessMissing } from './folder-errors.js';
import type { OpenJournals } from './journal-files.js';
import type { StoreLayout } from './names.js';

/** A range moves only a few times for each snapshot that is taken or deleted. */
const MOST_READS = 1000;

export class PageReads {
  constructor(
    private readonly layout: StoreLayout,
    private readonly openJournals: OpenJournals,
  ) {}

  /** Size of the blob at the snapshot, bytes. @throws CatalogueError InvalidReplicaState */
  async sizeAt(name: string, snapshot: string): Promise<number> {
    return await this.#withChain(name, async (chain) => await chain.sizeAt(snapshot));
  }

  async readInto(
    name: string,
    offset: number,
    target: Buffer,
    { snapshot, isReadBack = false }: PageReadOptions = {},
  ): Promise<void> {
    const range = { offset, length: target.length };
    if (snapshot !== undefined) {
      return await this.#whileUnmoved(name, range, snapshot, async (chain, places) => {
        await chain.read(places, target, offset);
      });
    }
    if (isReadBack && (await this.#readPastCache(name, offset, target))) return;
    await withBlobFile(this.layout, name, 'read', async (blob) => {
      checkRange(name, (await blob.stat()).size, range);
      await readExactly(blob, target, offset);
    });
  }

  /** @returns false if it cannot be read that way. */
  async #readPastCache(name: string, offset: number, target: Buffer): Promise<boolean> {
    // A full read is entirely within the blob.
    return (await unlessMissing(readPastCache(this.layout.file(name), target, offset), 0)) === target.length;
  }

  /** For a proof, the whole range: holes reported by the file system are read as well. */
  async ranges(name: string, range: Range, { snapshot, isProof = false }: PageRangeOptions = {}): Promise<Range[]> {
    if (snapshot === undefined) {
      return await withBlobFile(this.layout, name, 'read', async (blob) => {
        checkRange(name, (await blob.stat()).size, range);
        return isProof ? [range] : dataRanges(blob.fd, range);
      });
    }
    return await this.#whileUnmoved(name, range, snapshot, async (chain, places) =>
      isProof ? [range] : await chain.dataRanges(places),
    );
  }

  /**
   * Reads a range of a snapshot without a lock, and repeats if its blocks were moved meanwhile: a block is overwritten
   * or removed only after its new location was recorded.
   */
  async #whileUnmoved<T>(
    name: string,
    range: Range,
    snapshot: string,
    read: (chain: UndoChain, places: readonly Place[]) => Promise<T>,
  ): Promise<T> {
    const journals = this.layout.journals(name);
    for (let attempt = 1; ; attempt += 1) {
      const before = await listChain(journals);
      try {
        const found = await this.#withChain(name, async (chain) => {
          checkRange(name, await chain.sizeAt(snapshot), range);
          const places = await chain.locate(snapshot, range);
          return { places, value: await read(chain, places) };
        });
        const now = await this.#withChain(name, async (chain) => await chain.locate(snapshot, range));
        if (isDeepStrictEqual(found.places, now)) return found.value;
      } catch (error) {
        // A journal may have disappeared between being listed and being opened.
        if (isDeepStrictEqual(before, await listChain(journals))) throw error;
      }
      if (attempt === MOST_READS) {
        throw new CatalogueError('StoreBusy', `${name} was changed during each of ${MOST_READS} attempts to read it`);
      }
    }
  }

  /** The current chain, for reading. @throws CatalogueError InvalidReplicaState if there is no such blob. */
  async #withChain<T>(name: string, work: (chain: UndoChain) => Promise<T>): Promise<T> {
    return await withBlobFile(this.layout, name, 'read', (blob) =>
      UndoChain.with(this.layout.journals(name), blob, 'read', this.openJournals, work),
    );
  }
}
