/** The page blobs of a folder; each call runs under its fence. */
import type { Range } from '../../domain/ranges.js';
import { checkName } from '../blob-names.js';
import type { WriteFence } from '../../ports/objects.js';
import type { DiskWrite, SnapshotListOptions } from '../../ports/replica-disks.js';
import type { PageBlobs, PageRangeOptions, PageReadOptions } from '../page-blobs.js';
import type { ScopeAccess } from './access.js';
import type { OpenJournals } from './journal-files.js';
import { PageFiles } from './page-files.js';
import { PageReads } from './page-reads.js';
import { Snapshots } from './snapshots.js';
import type { StoreCalls } from './store-calls.js';

export class FolderPageBlobs implements PageBlobs {
  readonly #files: PageFiles;
  readonly #reads: PageReads;
  readonly #snapshots: Snapshots;

  constructor(
    private readonly calls: StoreCalls,
    openJournals: OpenJournals,
  ) {
    this.#files = new PageFiles(calls.layout, openJournals);
    this.#reads = new PageReads(calls.layout, openJournals);
    this.#snapshots = new Snapshots(calls.layout, openJournals, this.#files);
  }

  async create(name: string, size: number, fence: WriteFence): Promise<void> {
    const create = async (access: ScopeAccess) => await this.#files.create(access, name, size);
    await this.calls.fenced(`creating ${name}`, name, fence, create);
  }

  async resize(name: string, size: number, fence: WriteFence): Promise<void> {
    const resize = async (access: ScopeAccess) => await this.#files.resize(access, name, size);
    await this.calls.fenced(`resizing ${name}`, name, fence, resize);
  }

  async size(name: string, snapshot?: string): Promise<number | undefined> {
    return await this.calls.do(`looking for ${name}`, async () => {
      const size = await this.#files.size(checkName(name));
      if (size === undefined) await this.calls.marker.check();
      else if (snapshot !== undefined) return await this.#reads.sizeAt(name, snapshot);
      return size;
    });
  }

  /**
   * Writes one batch at a time: if a fence is raised meanwhile, some batches take effect and the others are refused.
   */
  async write(name: string, writes: readonly DiskWrite[], fence: WriteFence): Promise<void> {
    const doing = `writing ${name}`;
    const batches = await this.calls.do(doing, async () => await this.#files.batches(checkName(name), writes));
    for (const batch of batches) {
      const write = async (access: ScopeAccess) => await this.#files.write(access, name, batch);
      await this.calls.fenced(doing, name, fence, write, 'large');
    }
  }

  async readInto(name: string, offset: number, target: Buffer, how?: PageReadOptions): Promise<void> {
    await this.calls.do(`reading ${name}`, () => this.#reads.readInto(checkName(name), offset, target, how));
  }

  /** The list is as long as the blob is fragmented, so request a bounded range. */
  async ranges(name: string, range: Range, how?: PageRangeOptions): Promise<Range[]> {
    return await this.calls.do(`reading ${name}`, () => this.#reads.ranges(checkName(name), range, how));
  }

  async delete(name: string, fence: WriteFence): Promise<void> {
    const remove = async (access: ScopeAccess) => await this.#files.delete(access, name);
    await this.calls.fenced(`deleting ${name}`, name, fence, remove);
  }

  async snapshot(name: string, fence: WriteFence): Promise<string> {
    const take = async (access: ScopeAccess) => await this.#snapshots.take(access, name);
    return await this.calls.fenced(`taking a snapshot of ${name}`, name, fence, take);
  }

  async listSnapshots(name: string, how?: SnapshotListOptions): Promise<string[]> {
    return await this.calls.do(`listing snapshots of ${name}`, async () => {
      const ids = await this.#snapshots.list(checkName(name), how);
      if (ids.length === 0) await this.calls.marker.check();
      return ids;
    });
  }

  async deleteSnapshot(name: string, snapshot: string, fence: WriteFence): Promise<void> {
    let from: number | undefined = 0;
    while (from !== undefined) {
      const block: number = from;
      from = await this.calls.fenced(
        `deleting snapshot ${snapshot} of ${name}`,
        name,
        fence,
        async (access) => await this.#snapshots.deleteSlice(access, name, snapshot, block),
      );
    }
  }
}
