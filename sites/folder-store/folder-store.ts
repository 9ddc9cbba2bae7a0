/**
 * The embedded replica store: a folder, used by several processes at once. Everything that resolves is on stable
 * storage; a process that dies leaves each object and each page as it was or as it was to be.
 *
 * The folder: objects and page blobs as files under their names; `farshore-store.json` marks it as a store, so that an
 * empty mount point is not taken for one; `.fence`, twice, in each fenced scope; `.tmp/` for what is not there yet.
 */
import { readFile, stat } from 'node:fs/promises';
import path from 'node:path';
import { writeAt } from '../../disks/positional-io.js';
import { CatalogueError } from '../../domain/errors.js';
import type { Fence } from '../../domain/fence.js';
import type { Range } from '../../domain/ranges.js';
import { checkName, checkScope } from '../blob-names.js';
import type {
  PageRangeOptions,
  PageWrite,
  ReadBackOptions,
  ReplicaStore,
  SnapshotListOptions,
  WriteFence,
} from '../../ports/replica-store.js';
import { readObjectFile } from './object-reads.js';
import type { Patience, ScopeAccess } from './access.js';
import { errnoOf, storeError, unlessMissing } from './folder-errors.js';
import { ScopeFences } from './fence-file.js';
import { DurableFiles, type Temporary } from './files.js';
import { OpenJournals } from './journal-files.js';
import { collectNames } from './listing.js';
import { StoreMarker } from './store-marker.js';
import { StoreLayout } from './names.js';
import { PageReads } from './page-reads.js';
import { PageBlobs } from './pages.js';
import { SpaceReserve } from './reserve.js';
import { Snapshots } from './snapshots.js';

/** One write under a lock is 16 MiB at most. */
const PATIENCE: Patience = { write: 60_000, raise: 10_000 };
/** Bytes. */
const LARGEST_RECORD = 64 * 1024;
/** Milliseconds: a file changed this recently may not be durable yet under its name. */
const RECENT = 60_000;

export class EmbeddedReplicaStore implements ReplicaStore {
  #closed = false;
  readonly #openJournals = new OpenJournals();
  readonly #fences: ScopeFences;
  readonly #blobs: PageBlobs;
  readonly #reads: PageReads;
  readonly #snapshots: Snapshots;
  readonly #reserve: SpaceReserve;

  private constructor(
    private readonly layout: StoreLayout,
    private readonly files: DurableFiles,
    private readonly marker: StoreMarker,
    patience: Patience,
  ) {
    this.#fences = new ScopeFences(layout, files, () => marker.check(), patience);
    this.#blobs = new PageBlobs(layout, this.#openJournals);
    this.#reads = new PageReads(layout, this.#openJournals);
    this.#snapshots = new Snapshots(layout, this.#openJournals, this.#blobs);
    this.#reserve = new SpaceReserve(layout.reserve());
  }

  /**
   * @param options.create makes a store of a folder that is missing or empty; a store that is there is opened.
   * @param options.patience ms.
   * @throws CatalogueError StoreUnreachable when the folder is missing or is no store.
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
      const store = new EmbeddedReplicaStore(layout, files, marker, options.patience ?? PATIENCE);
      if (options.create) await store.#reserve.fill();
      return store;
    } catch (error) {
      throw storeError(error, `opening the store ${layout.root}`);
    }
  }

  /** It was made with this one. */
  get id(): string {
    return this.marker.id;
  }

  async putObject(name: string, data: Buffer, fence: WriteFence): Promise<void> {
    await this.#write(name, fence, data, async (files, file, target) => await files.publish(file, target));
  }

  async putObjectIfAbsent(name: string, data: Buffer, fence: WriteFence): Promise<boolean> {
    return await this.#write(
      name,
      fence,
      data,
      async (files, file, target) => await files.publishIfAbsent(file, target),
    );
  }

  async uploadObject(name: string, chunks: AsyncIterable<Buffer>, fence: WriteFence): Promise<void> {
    await this.#write(name, fence, chunks, async (files, file, target) => await files.publish(file, target));
  }

  async getObject(name: string): Promise<Buffer | undefined> {
    return await this.#do(`reading ${name}`, async () => {
      const file = this.layout.file(checkName(name));
      const data = await unlessMissing(readFile(file), undefined);
      if (data === undefined) await this.marker.check();
      else if (Date.now() - (await stat(file)).ctimeMs < RECENT) await this.files.syncFolders(path.dirname(file));
      return data;
    });
  }

  async readObject(name: string, offset: number, length: number): Promise<Buffer> {
    const target = Buffer.allocUnsafe(length);
    await this.readObjectInto(name, offset, target);
    return target;
  }

  async readObjectInto(name: string, offset: number, target: Buffer, how?: ReadBackOptions): Promise<void> {
    await this.#do(`reading ${name}`, () => readObjectFile(this.layout.file(checkName(name)), offset, target, how));
  }

  async listObjects(prefix: string): Promise<string[]> {
    return await this.#do(`listing ${prefix}`, async () => {
      const folder = prefix.slice(0, prefix.lastIndexOf('/') + 1);
      if (folder !== '') checkName(folder.slice(0, -1));
      const found: string[] = [];
      await collectNames(this.layout, folder, prefix, found);
      if (found.length === 0) await this.marker.check();
      return found.sort();
    });
  }

  async deleteObject(name: string, fence: WriteFence): Promise<void> {
    await this.#fenced(`deleting ${name}`, name, fence, async ({ files }) => {
      await this.#refusePageBlob(name);
      await files.remove(this.layout.file(name), this.layout.file(checkScope(fence.scope)));
    });
  }

  async createPageBlob(name: string, size: number, fence: WriteFence): Promise<void> {
    await this.#fenced(`creating ${name}`, name, fence, async (access) => await this.#blobs.create(access, name, size));
  }

  async resizePageBlob(name: string, size: number, fence: WriteFence): Promise<void> {
    await this.#fenced(`resizing ${name}`, name, fence, async (access) => await this.#blobs.resize(access, name, size));
  }

  async pageBlobSize(name: string, snapshot?: string): Promise<number | undefined> {
    return await this.#do(`looking for ${name}`, async () => {
      const size = await this.#blobs.size(checkName(name));
      if (size === undefined) await this.marker.check();
      else if (snapshot !== undefined) return await this.#reads.sizeAt(name, snapshot);
      return size;
    });
  }

  /** Pages are written a batch at a time: a fence that is raised meanwhile lets some land and refuses the others. */
  async writePages(name: string, writes: readonly PageWrite[], fence: WriteFence): Promise<void> {
    const doing = `writing ${name}`;
    const batches = await this.#do(doing, async () => await this.#blobs.batches(checkName(name), writes));
    for (const batch of batches) {
      const write = async (access: ScopeAccess) => await this.#blobs.write(access, name, batch);
      await this.#fenced(doing, name, fence, write, 'large');
    }
  }

  async readPages(name: string, offset: number, length: number, snapshot?: string): Promise<Buffer> {
    return await this.#do(`reading ${name}`, () => this.#reads.read(checkName(name), { offset, length }, snapshot));
  }

  async readPagesInto(name: string, offset: number, target: Buffer): Promise<void> {
    await this.#do(`reading ${name}`, async () => await this.#reads.readInto(checkName(name), offset, target));
  }

  /** The list is as long as the blob is fragmented: ask for a bounded range. */
  async listPageRanges(name: string, range: Range, snapshot?: string, how?: PageRangeOptions): Promise<Range[]> {
    return await this.#do(`reading ${name}`, () => this.#reads.ranges(checkName(name), range, snapshot, how));
  }

  async deletePageBlob(name: string, fence: WriteFence): Promise<void> {
    await this.#fenced(`deleting ${name}`, name, fence, async (access) => await this.#blobs.delete(access, name));
  }

  async snapshotPageBlob(name: string, fence: WriteFence): Promise<string> {
    const take = async (access: ScopeAccess) => await this.#snapshots.take(access, name);
    return await this.#fenced(`taking a snapshot of ${name}`, name, fence, take);
  }

  async listSnapshots(name: string, how?: SnapshotListOptions): Promise<string[]> {
    return await this.#do(`listing snapshots of ${name}`, async () => {
      const ids = await this.#snapshots.list(checkName(name), how);
      if (ids.length === 0) await this.marker.check();
      return ids;
    });
  }

  async deleteSnapshot(name: string, snapshot: string, fence: WriteFence): Promise<void> {
    let from: number | undefined = 0;
    while (from !== undefined) {
      const block: number = from;
      from = await this.#fenced(
        `deleting snapshot ${snapshot} of ${name}`,
        name,
        fence,
        async (access) => await this.#snapshots.deleteSlice(access, name, snapshot, block),
      );
    }
  }

  async raiseFence(fence: WriteFence): Promise<void> {
    await this.#do(`fencing ${fence.scope}`, async () => {
      await this.#reserve.fill();
      await this.#reserve.spend('fence', async () => await this.#fences.raise(fence));
    });
  }

  async readFence(scope: string): Promise<Fence> {
    return await this.#do(`reading the fence of ${scope}`, async () => {
      const fence = await this.#fences.read(checkScope(scope));
      await this.marker.check();
      return fence;
    });
  }

  async close(): Promise<void> {
    this.#closed = true;
    await this.#openJournals.close();
  }

  async #write<T>(
    name: string,
    fence: WriteFence,
    content: Buffer | AsyncIterable<Buffer>,
    publish: (files: DurableFiles, file: Temporary, target: string) => Promise<T>,
  ): Promise<T> {
    const doing = `writing ${name}`;
    const put = async () => {
      checkName(name);
      // The fence is asked once before, to spare the work: what counts is asked again under the lock.
      const access = await this.#fences.access(name, fence);
      const { files } = access;
      const write = async (file: Temporary) => {
        let length = 0;
        for await (const chunk of Buffer.isBuffer(content) ? [content] : content) {
          await writeAt(file.handle, chunk, length);
          length += chunk.length;
        }
        await file.handle.sync();
        const finish = async () => {
          await this.#refusePageBlob(name);
          return await publish(files, file, this.layout.file(name));
        };
        return await this.#fences.write(name, fence, finish, access);
      };
      return await access.unlessShutOut(async () => await files.withTemporaryFile(write));
    };
    const isRecord = Buffer.isBuffer(content) && content.length <= LARGEST_RECORD;
    return await this.#do(doing, isRecord ? async () => await this.#reserve.spend('record', put) : put);
  }

  /** @param size what is small, or makes room, is done although the store is full. */
  async #fenced<T>(
    doing: string,
    name: string,
    fence: WriteFence,
    work: (access: ScopeAccess) => Promise<T>,
    size: 'small' | 'large' = 'small',
  ): Promise<T> {
    const write = async () => await this.#fences.write(checkName(name), fence, work);
    return await this.#do(doing, size === 'small' ? async () => await this.#reserve.spend('record', write) : write);
  }

  async #do<T>(doing: string, work: () => Promise<T>): Promise<T> {
    if (this.#closed) throw new Error(`${doing}: the store is closed`);
    try {
      await this.marker.check();
      return await work();
    } catch (error) {
      // In a store that goes away meanwhile everything seems to be missing.
      if (errnoOf(error) === 'ENOENT') await this.marker.check();
      throw storeError(error, doing);
    }
  }

  async #refusePageBlob(name: string): Promise<void> {
    if (!(await unlessMissing(stat(this.layout.journals(name)), undefined))) return;
    throw new CatalogueError('InvalidReplicaState', `${name} is a page blob, not an object`);
  }
}
