/**
 * The embedded replica store: a folder, used by several processes at once. Everything that resolves is on stable
 * storage; a process that dies leaves each object and each page as it was or as it was to be.
 *
 * The folder: objects and page blobs as files under their names; `farshore-store.json` marks it as a store, so that an
 * empty mount point is not taken for one; `.fence` in each fenced scope; `.tmp/` for what is not there yet.
 */
import { readFile, readdir, stat } from 'node:fs/promises';
import path from 'node:path';
import { writeAt } from '../../disks/positional-io.js';
import { CatalogueError } from '../../domain/errors.js';
import type { Fence } from '../../domain/fence.js';
import type { Range } from '../../domain/ranges.js';
import { checkName, checkScope } from '../blob-names.js';
import type { PageWrite, ReplicaStore, WriteFence } from '../ports.js';
import { readExactly } from './replica-store-chain.js';
import { errnoOf, storeError, unlessMissing } from './replica-store-errors.js';
import { ScopeFences } from './replica-store-fence.js';
import { DurableFiles, withFile, type Temporary } from './replica-store-files.js';
import { OpenJournals } from './replica-store-journal-files.js';
import { StoreMarker } from './replica-store-marker.js';
import { StoreLayout, isInternal } from './replica-store-names.js';
import { PageBlobs } from './replica-store-pages.js';
import { Snapshots } from './replica-store-snapshots.js';

/** Milliseconds: a file changed this recently may not be durable yet under its name. */
const RECENT = 60_000;

export class EmbeddedReplicaStore implements ReplicaStore {
  #closed = false;
  readonly #openJournals = new OpenJournals();
  readonly #fences: ScopeFences;
  readonly #blobs: PageBlobs;
  readonly #snapshots: Snapshots;

  private constructor(
    private readonly layout: StoreLayout,
    private readonly files: DurableFiles,
    private readonly marker: StoreMarker,
  ) {
    this.#fences = new ScopeFences(layout, files, () => marker.check());
    this.#blobs = new PageBlobs(layout, files, this.#openJournals);
    this.#snapshots = new Snapshots(layout, files, this.#blobs);
  }

  /**
   * @param options.create makes a store of a folder that is missing or empty; a store that is there is opened.
   * @throws CatalogueError StoreUnreachable when the folder is missing or is no store.
   */
  static async open(folder: string, options: { create?: boolean } = {}): Promise<EmbeddedReplicaStore> {
    const layout = new StoreLayout(path.resolve(folder));
    const files = new DurableFiles(layout.root, layout.temporaryFolder());
    try {
      const marker = await StoreMarker.open(layout, files, options.create ?? false);
      await files.sweep();
      return new EmbeddedReplicaStore(layout, files, marker);
    } catch (error) {
      throw storeError(error, `opening the store ${layout.root}`);
    }
  }

  async putObject(name: string, data: Buffer, fence: WriteFence): Promise<void> {
    await this.#write(name, fence, data, async (file, target) => await this.files.publish(file, target));
  }

  async putObjectIfAbsent(name: string, data: Buffer, fence: WriteFence): Promise<boolean> {
    return await this.#write(name, fence, data, async (file, target) => await this.files.publishIfAbsent(file, target));
  }

  async uploadObject(name: string, chunks: AsyncIterable<Buffer>, fence: WriteFence): Promise<void> {
    await this.#write(name, fence, chunks, async (file, target) => await this.files.publish(file, target));
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

  async readObjectInto(name: string, offset: number, target: Buffer): Promise<void> {
    await this.#do(`reading ${name}`, async () => {
      if (!Number.isSafeInteger(offset) || offset < 0) throw new RangeError(`${name}: offset ${offset} was asked for`);
      await withFile(this.layout.file(checkName(name)), 'r', async (file) => await readExactly(file, target, offset));
    });
  }

  async listObjects(prefix: string): Promise<string[]> {
    return await this.#do(`listing ${prefix}`, async () => {
      const folder = prefix.slice(0, prefix.lastIndexOf('/') + 1);
      if (folder !== '') checkName(folder.slice(0, -1));
      const found: string[] = [];
      await this.#collect(folder, prefix, found);
      if (found.length === 0) await this.marker.check();
      return found.sort();
    });
  }

  async deleteObject(name: string, fence: WriteFence): Promise<void> {
    await this.#fenced(`deleting ${name}`, name, fence, async () => {
      await this.#refusePageBlob(name);
      await this.files.remove(this.layout.file(name), this.layout.file(checkScope(fence.scope)));
    });
  }

  async createPageBlob(name: string, size: number, fence: WriteFence): Promise<void> {
    await this.#fenced(`creating ${name}`, name, fence, async () => await this.#blobs.create(name, size));
  }

  async resizePageBlob(name: string, size: number, fence: WriteFence): Promise<void> {
    await this.#fenced(`resizing ${name}`, name, fence, async () => await this.#blobs.resize(name, size));
  }

  async pageBlobSize(name: string, snapshot?: string): Promise<number | undefined> {
    return await this.#do(`looking for ${name}`, async () => {
      const size = await this.#blobs.size(checkName(name), snapshot);
      if (size === undefined) await this.marker.check();
      return size;
    });
  }

  /** Pages are written a batch at a time: a fence that is raised meanwhile lets some land and refuses the others. */
  async writePages(name: string, writes: readonly PageWrite[], fence: WriteFence): Promise<void> {
    const doing = `writing ${name}`;
    const batches = await this.#do(doing, async () => await this.#blobs.batches(checkName(name), writes));
    for (const batch of batches) {
      await this.#fenced(doing, name, fence, async () => await this.#blobs.write(name, batch));
    }
  }

  async readPages(name: string, offset: number, length: number, snapshot?: string): Promise<Buffer> {
    return await this.#do(
      `reading ${name}`,
      async () => await this.#blobs.read(checkName(name), { offset, length }, snapshot),
    );
  }

  async readPagesInto(name: string, offset: number, target: Buffer): Promise<void> {
    await this.#do(`reading ${name}`, async () => await this.#blobs.readInto(checkName(name), offset, target));
  }

  /** The list is as long as the blob is fragmented: ask for a bounded range. */
  async listPageRanges(name: string, range: Range, snapshot?: string): Promise<Range[]> {
    return await this.#do(`reading ${name}`, async () => await this.#blobs.ranges(checkName(name), range, snapshot));
  }

  async deletePageBlob(name: string, fence: WriteFence): Promise<void> {
    await this.#fenced(`deleting ${name}`, name, fence, async () => await this.#blobs.delete(name));
  }

  async snapshotPageBlob(name: string, fence: WriteFence): Promise<string> {
    return await this.#fenced(
      `taking a snapshot of ${name}`,
      name,
      fence,
      async () => await this.#snapshots.take(name),
    );
  }

  async listSnapshots(name: string): Promise<string[]> {
    return await this.#do(`listing snapshots of ${name}`, async () => {
      const ids = await this.#snapshots.list(checkName(name));
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
        async () => await this.#snapshots.deleteSlice(name, snapshot, block),
      );
    }
  }

  async raiseFence(fence: WriteFence): Promise<void> {
    await this.#do(`fencing ${fence.scope}`, async () => await this.#fences.raise(fence));
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
    publish: (file: Temporary, target: string) => Promise<T>,
  ): Promise<T> {
    const doing = `writing ${name}`;
    return await this.#do(doing, async () => {
      checkName(name);
      // Once before, to spare the work: what counts is asked again under the lock.
      await this.#fences.check(name, fence);
      return await this.files.withTemporaryFile(async (file) => {
        let length = 0;
        for await (const chunk of Buffer.isBuffer(content) ? [content] : content) {
          await writeAt(file.handle, chunk, length);
          length += chunk.length;
        }
        await file.handle.sync();
        return await this.#fences.write(name, fence, async () => {
          await this.#refusePageBlob(name);
          return await publish(file, this.layout.file(name));
        });
      });
    });
  }

  async #fenced<T>(doing: string, name: string, fence: WriteFence, work: () => Promise<T>): Promise<T> {
    return await this.#do(doing, async () => await this.#fences.write(checkName(name), fence, work));
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

  /** @param folder empty, or ending with a slash. */
  async #collect(folder: string, prefix: string, found: string[]): Promise<void> {
    const entries = await unlessMissing(readdir(path.join(this.layout.root, folder), { withFileTypes: true }), []);
    const names = new Set(entries.map((entry) => entry.name));
    for (const entry of entries) {
      const name = folder + entry.name;
      if (isInternal(entry.name) || this.layout.file(name) === this.layout.marker()) continue;
      if (entry.isDirectory()) {
        const inside = `${name}/`;
        if (inside.startsWith(prefix) || prefix.startsWith(inside)) await this.#collect(inside, prefix, found);
      } else if (name.startsWith(prefix) && !names.has(`${entry.name}.undo`)) found.push(name);
    }
  }
}
