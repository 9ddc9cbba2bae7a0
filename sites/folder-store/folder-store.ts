/**
 * The embedded replica store: a folder that several processes use at the same time. When a call resolves, its effect is
 * on stable storage. A process that dies leaves each object and page with either its old or its new content.
 *
 * The folder contains objects and page blobs as files under their names; `farshore-store.json`, which marks it as a
 * store, so that an empty mount point is not taken for one; `.fence`, twice, in each fenced scope; and `.tmp/` for
 * unfinished files.
 */
import path from 'node:path';
import type { Objects } from '../../ports/objects.js';
import type { PageBlobs } from '../page-blobs.js';
import type { ReplicaDisks } from '../../ports/replica-disks.js';
import type { ReplicaStore } from '../../ports/replica-store.js';
import { VhdDisks } from '../vhd-disks.js';
import type { Patience } from './access.js';
import { ScopeFences } from './fence-file.js';
import { DurableFiles } from './files.js';
import { storeError } from './folder-errors.js';
import { OpenJournals } from './journal-files.js';
import { StoreLayout } from './names.js';
import { FolderObjects } from './objects.js';
import { FolderPageBlobs } from './page-blobs.js';
import { SpaceReserve } from './reserve.js';
import { StoreCalls } from './store-calls.js';
import { StoreMarker } from './store-marker.js';

/** A write under a lock has at most 16 MiB. */
const PATIENCE: Patience = { write: 60_000, raise: 10_000 };

export class EmbeddedReplicaStore implements ReplicaStore {
  readonly objects: Objects;
  readonly pageBlobs: PageBlobs;
  readonly disks: ReplicaDisks;
  readonly #openJournals = new OpenJournals();

  private constructor(private readonly calls: StoreCalls) {
    this.objects = new FolderObjects(calls);
    this.pageBlobs = new FolderPageBlobs(calls, this.#openJournals);
    this.disks = new VhdDisks(this.pageBlobs);
  }

  /**
   * @param options.create creates a store in a missing or empty folder; an existing store is opened.
   * @param options.patience ms.
   * @throws CatalogueError StoreUnreachable if the folder is missing or is not a store.
   */
  static async open(
    folder: string,
    options: { create?: boolean; patience?: Patience } = {},
  ): Promise<EmbeddedReplicaStore> {
    const layout = new StoreLayout(path.resolve(folder));
    const files = new DurableFiles(layout.root, layout.temporaryFolder());
    try {
      const marker = await StoreMarker.open(layout, files, options.create ?? false);
      await files.sweep();
      const fences = new ScopeFences(layout, files, () => marker.check(), options.patience ?? PATIENCE);
      const reserve = new SpaceReserve(layout.reserve());
      if (options.create) await reserve.fill();
      return new EmbeddedReplicaStore(new StoreCalls(layout, files, marker, fences, reserve));
    } catch (error) {
      throw storeError(error, `opening the store ${layout.root}`);
    }
  }

  /** The id with which it was created. */
  get id(): string {
    return this.calls.marker.id;
  }

  async close(): Promise<void> {
    this.calls.close();
    await this.#openJournals.close();
  }
}
