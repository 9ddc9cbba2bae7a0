/**
 * Snapshots of page blobs. Taking one copies nothing: it begins an undo journal. Deleting one moves the blocks that an
 * older one still needs, a slice at a time, and can die anywhere: the journal then stays marked, and a repeated deletion
 * goes on with it.
 */
import { rename } from 'node:fs/promises';
import path from 'node:path';
import { syncFolder } from '../../disks/sync-folder.js';
import { CatalogueError } from '../../domain/errors.js';
import { readBlobRecord, replaceBlobRecord } from './replica-store-blob-record.js';
import { listChain } from './replica-store-chain.js';
import type { DurableFiles } from './replica-store-files.js';
import type { StoreLayout } from './replica-store-names.js';
import type { PageBlobs } from './replica-store-pages.js';
import { UndoJournal } from './undo-journal.js';

/** Bytes moved under one lock. */
const SLICE = 16 * 1024 * 1024;

export class Snapshots {
  constructor(
    private readonly layout: StoreLayout,
    private readonly files: DurableFiles,
    private readonly blobs: PageBlobs,
  ) {}

  async take(name: string): Promise<string> {
    const journals = this.layout.journals(name);
    return await this.blobs.withBlob(name, 'exclusive', 'write', async (blob) => {
      const record = await readBlobRecord(journals);
      const { size } = await blob.stat();
      if (size !== record.size) {
        throw new CatalogueError(
          'InvalidReplicaState',
          `${name} has ${size} bytes; it was created with ${record.size}`,
        );
      }
      // What a writer that died has left unsynced is part of the snapshot now.
      await blob.datasync();
      await replaceBlobRecord(journals, { ...record, nextSnapshot: record.nextSnapshot + 1 }, this.files);
      const id = `${String(record.nextSnapshot).padStart(10, '0')}-${record.incarnation}`;
      await this.files.withTemporaryFolder(async (folder) => {
        await UndoJournal.create(folder.path, size);
        await this.files.publish(folder, path.join(journals, id));
      });
      return id;
    });
  }

  async list(name: string): Promise<string[]> {
    const links = await listChain(this.layout.journals(name));
    return links.filter((link) => !link.deleting).map((link) => link.id);
  }

  /**
   * Does a slice of the work of deleting a snapshot; from its first on the snapshot is not there any more.
   * @param fromBlock where the last slice stopped, 0 at first.
   * @returns where to go on; undefined when all is done.
   */
  async deleteSlice(name: string, id: string, fromBlock: number): Promise<number | undefined> {
    const journals = this.layout.journals(name);
    if ((await this.blobs.size(name)) === undefined) return undefined;
    await this.blobs.withBlob(name, 'exclusive', 'read', async () => {
      const live = (await listChain(journals)).find((link) => link.id === id && !link.deleting);
      if (live) await rename(live.folder, `${live.folder}.deleting`);
      await syncFolder(journals);
    });
    return await this.blobs.withBlob(name, 'exclusive', 'write', async (_blob, chain) => {
      const link = (await listChain(journals)).find((other) => other.id === id);
      if (!link) return undefined;
      const next = await chain.moveToOlder(link, fromBlock, SLICE);
      if (next === undefined) await this.files.discardFolder(link.folder);
      return next;
    });
  }
}
