/**
 * Snapshots of page blobs. Taking one copies nothing: it begins an undo journal. Deleting one moves the blocks that an
 * older one still needs, one slice at a time. It may die at any point: the journal then stays marked, and a repeated
 * deletion continues.
 */
import path from 'node:path';
import { syncFolder } from '../../disks/sync-folder.js';
import { CatalogueError } from '../../domain/errors.js';
import type { ScopeAccess } from './access.js';
import { readBlobRecord, replaceBlobRecord, snapshotId } from './blob-record.js';
import { deletionMark, listChain, readChain, recordWith } from './chain-state.js';
import type { SnapshotListOptions } from '../../ports/replica-disks.js';
import type { OpenJournals } from './journal-files.js';
import type { StoreLayout } from './names.js';
import type { PageFiles } from './page-files.js';
import { UndoJournal } from './undo-journal.js';

/** Bytes moved under one lock. */
const SLICE = 16 * 1024 * 1024;

export class Snapshots {
  constructor(
    private readonly layout: StoreLayout,
    private readonly openJournals: OpenJournals,
    private readonly blobs: PageFiles,
  ) {}

  async take(access: ScopeAccess, name: string): Promise<string> {
    const journals = this.layout.journals(name);
    return await this.blobs.withBlob(access, name, 'exclusive', 'write', async (blob, { state }) => {
      const record = await readBlobRecord(journals);
      const { size } = await blob.stat();
      if (size !== record.size) {
        throw new CatalogueError(
          'InvalidReplicaState',
          `${name} has ${size} bytes; it was created with ${record.size}`,
        );
      }
      // Data that a dead writer has left unsynced is part of the snapshot now.
      await blob.datasync();
      const number = recordWith(record, state).nextSnapshot;
      const id = snapshotId(record, number);
      await access.files.withTemporaryFolder(async (folder) => {
        await UndoJournal.create(folder.path, size);
        await access.files.publish(folder, path.join(journals, id));
      });
      // Afterwards, because a journal that the record names and that does not exist counts as lost.
      await replaceBlobRecord(journals, recordWith(record, state, { taken: number }), access.files);
      return id;
    });
  }

  async list(name: string, { isReadable = false }: SnapshotListOptions = {}): Promise<string[]> {
    const { links, useless } = await readChain(this.layout.journals(name));
    return [...(isReadable ? [] : useless), ...links].filter((link) => !link.deleting).map((link) => link.id);
  }

  /**
   * Performs a slice of deleting a snapshot, which disappears with the first slice.
   * @param fromBlock where the last slice stopped, 0 at first.
   * @returns where to continue; undefined when everything is done.
   */
  async deleteSlice(access: ScopeAccess, name: string, id: string, fromBlock: number): Promise<number | undefined> {
    const journals = this.layout.journals(name);
    if ((await this.blobs.size(name)) === undefined) return undefined;
    await this.blobs.withBlob(access, name, 'exclusive', 'read', async () => {
      const live = (await listChain(journals)).find((link) => link.id === id && !link.deleting);
      if (live) await access.files.replace(deletionMark(journals, id), Buffer.alloc(0));
      else await syncFolder(journals);
    });
    return await this.blobs.withBlob(access, name, 'exclusive', 'write', async (_blob, chain) => {
      const record = await readBlobRecord(journals);
      const link = (await listChain(journals)).find((other) => other.id === id);
      const next = link && (await chain.moveToOlder(link, fromBlock, SLICE));
      if (next !== undefined) return next;
      // Before the journal is removed: see above.
      if (link) await replaceBlobRecord(journals, recordWith(record, chain.state, { deleted: id }), access.files);
      if (link) await access.files.discard(link.folder);
      await this.openJournals.drop(path.join(journals, id));
      await access.files.remove(deletionMark(journals, id), journals);
      return undefined;
    });
  }
}
