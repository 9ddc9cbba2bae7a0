/** Page blobs: their entries in the catalog, and their pages, which the service fences by sequence number. */
import { CatalogueError } from '../../domain/errors.js';
import { LAST_SEQUENCE, type Fence } from '../../domain/fence.js';
import { end, type Range } from '../../domain/ranges.js';
import { inParallel } from '../../concurrency/in-parallel.js';
import { checkName } from '../blob-names.js';
import { checkPages, checkRange, checkSize, rangeOf } from '../page-requests.js';
import type { WriteFence } from '../../ports/objects.js';
import type { DiskWrite, WriteOptions } from '../../ports/replica-disks.js';
import { refuseOlder, scopeOf } from '../write-fence.js';
import { newBlobName, type Catalog, type PageBlobEntry } from './catalog-format.js';
import { LOOKUPS, type Catalogs } from './catalogs.js';
import type { Container } from './container.js';
import type { FencedChanges } from './fenced-changes.js';
import { pageRequests, type PageRequest } from './page-requests.js';
import { invalid, missingContent } from './store-faults.js';

/** Parallel requests that write pages of one blob. The service accepts 500 requests/s and 60 MiB/s for each blob. */
const WRITES_IN_FLIGHT = 6;

/** The service's limit, bytes. */
const LARGEST_BLOB = 8 * 1024 ** 4;

function checkBlobSize(name: string, size: number): void {
  checkSize(name, size);
  if (size <= LARGEST_BLOB) return;
  throw new CatalogueError(
    'PrerequisitesNotMet',
    `${name} would have ${size} bytes, and a page blob holds ${LARGEST_BLOB} at most: make the disk smaller`,
  );
}

interface WriteTarget {
  readonly name: string;
  readonly blob: string;
  readonly fence: WriteFence;
  readonly options: WriteOptions;
}

export class BlobPages {
  constructor(
    private readonly container: Container,
    private readonly catalogs: Catalogs,
    private readonly changes: FencedChanges,
  ) {}

  async create(name: string, size: number, fence: WriteFence): Promise<void> {
    const scope = scopeOf(name, fence);
    checkBlobSize(name, size);
    const isThere = (catalog: Catalog): boolean => {
      refuseOlder(name, fence, catalog.fence);
      const there = catalog.pageBlobs.get(name);
      if (there && there.size !== size) throw invalid(name, `it has ${there.size} bytes; ${size} were asked for`);
      return there !== undefined;
    };
    const catalog = await this.catalogs.of(scope).read();
    if (isThere(catalog)) return;
    const blob = newBlobName(name);
    // A fence that is raised before the catalog names the blob does not reach it; but then no older writer learns its
    // name.
    await this.container.createPages(blob, size, sequenceNumber(catalog.fence));
    const named = await this.changes.name(name, fence, { blob }, (current) => {
      if (isThere(current)) return false;
      if (current.objects.has(name)) throw invalid(name, 'it is an object, not a page blob');
      current.pageBlobs.set(name, { blob, size, taken: 0, snapshots: [] });
      return true;
    });
    if (!named) await this.changes.discard(name, fence, { blob });
  }

  async resize(name: string, size: number, fence: WriteFence): Promise<void> {
    const scope = scopeOf(name, fence);
    checkBlobSize(name, size);
    const checked = (catalog: Catalog): PageBlobEntry => {
      refuseOlder(name, fence, catalog.fence);
      const entry = pageBlobOf(catalog, name);
      if (entry.size > size) throw invalid(name, `it has ${entry.size} bytes; it can't get the smaller size ${size}`);
      return entry;
    };
    // The blob first: space behind the size in the catalog is invisible.
    const { blob, size: before } = checked(await this.catalogs.of(scope).read());
    if (before < size) await this.container.resizePages(blob, size);
    await this.changes.change(name, fence, (catalog) => {
      const entry = checked(catalog);
      if (entry.blob !== blob) throw invalid(name, 'it was replaced while it was resized');
      if (entry.size < size) catalog.pageBlobs.set(name, { ...entry, size });
    });
  }

  async size(name: string, snapshot?: string): Promise<number | undefined> {
    const entry = (await this.catalogs.containing(checkName(name)))?.pageBlobs.get(name);
    if (!entry || snapshot === undefined) return entry?.size;
    return snapshotOf(name, entry, snapshot).size;
  }

  async write(name: string, writes: readonly DiskWrite[], fence: WriteFence, options: WriteOptions): Promise<void> {
    scopeOf(name, fence);
    const furthest = writes.reduce((most, write) => Math.max(most, end(rangeOf(write))), 0);
    for (let lookup = 0; lookup < LOOKUPS; lookup += 1) {
      const { blob, size } = await this.entry(name, { mayBeOld: lookup === 0, holding: furthest });
      for (const write of writes) checkPages(name, size, rangeOf(write));
      if (await this.#writeAll({ name, blob, fence, options }, writes)) return;
    }
    throw missingContent(name);
  }

  async readInto(name: string, range: Range, target: Buffer, snapshot?: string): Promise<void> {
    await this.#onContent(name, range, snapshot, async (blob, taken) => {
      return (await this.container.read(blob, range.offset, target, taken)) || undefined;
    });
  }

  async ranges(name: string, range: Range, snapshot?: string): Promise<Range[]> {
    return await this.#onContent(name, range, snapshot, (blob, taken) => this.container.pageRanges(blob, range, taken));
  }

  async delete(name: string, fence: WriteFence): Promise<void> {
    const gone = await this.changes.change(name, fence, (catalog) => {
      const entry = catalog.pageBlobs.get(name);
      catalog.pageBlobs.delete(name);
      return entry;
    });
    if (gone) await this.changes.discard(name, fence, gone);
  }

  /**
   * @param options.mayBeOld use the known catalog if the blob is long enough there and has the snapshot.
   * @throws CatalogueError InvalidReplicaState if there is no such page blob.
   */
  async entry(
    name: string,
    options: { mayBeOld: boolean; holding?: number; snapshot?: string | undefined },
  ): Promise<PageBlobEntry> {
    const { mayBeOld, holding = 0, snapshot } = options;
    const known = mayBeOld ? (await this.catalogs.recentlyContaining(name))?.pageBlobs.get(name) : undefined;
    const knowsSnapshot = snapshot === undefined || known?.snapshots.some(({ id }) => id === snapshot);
    if (known && holding <= known.size && knowsSnapshot) return known;
    const catalog = await this.catalogs.containing(name);
    if (!catalog) throw invalid(name, 'there is no such page blob');
    return pageBlobOf(catalog, name);
  }

  /** In parallel, because they do not overlap. @returns false if the blob is gone. @throws CatalogueError StaleEpoch */
  async #writeAll({ name, blob, fence, options }: WriteTarget, writes: readonly DiskWrite[]): Promise<boolean> {
    const number = sequenceNumber(fence);
    let refused: 'stale' | 'missing' | undefined;
    const write = async (request: PageRequest): Promise<void> => {
      if (refused) return;
      const outcome = await this.container.writePages(blob, request, number, options);
      if (outcome !== 'written') refused = outcome;
    };
    await inParallel(pageRequests(writes), WRITES_IN_FLIGHT, write);
    if (refused === 'stale') {
      const { fence: recorded } = await this.catalogs.of(scopeOf(name, fence)).read();
      refuseOlder(name, fence, recorded);
      throw invalid(name, 'its sequence number is above its fence: another program has changed it');
    }
    return refused === undefined;
  }

  /** Works on a blob or one of its snapshots, which is looked up again if it is gone. */
  async #onContent<T>(
    name: string,
    range: Range,
    snapshot: string | undefined,
    work: (blob: string, snapshot?: string) => Promise<T | undefined>,
  ): Promise<T> {
    checkName(name);
    for (let lookup = 0; lookup < LOOKUPS; lookup += 1) {
      const entry = await this.entry(name, { mayBeOld: lookup === 0, holding: end(range), snapshot });
      const taken = snapshot === undefined ? undefined : snapshotOf(name, entry, snapshot);
      checkRange(name, (taken ?? entry).size, range);
      const done = await work(entry.blob, taken?.time);
      if (done !== undefined) return done;
    }
    throw missingContent(name);
  }
}

/**
 * The fence as the sequence number of a page blob, with the same order.
 * @throws CatalogueError InvalidReplicaState above epoch 2,097,151, where numbers are no longer exact.
 */
export function sequenceNumber({ epoch, sequence }: Fence): number {
  const number = epoch * (LAST_SEQUENCE + 1) + sequence;
  if (Number.isSafeInteger(number)) return number;
  throw new CatalogueError('InvalidReplicaState', `epoch ${epoch} is too high for the sequence number of a page blob`);
}

export function pageBlobOf(catalog: Catalog, name: string): PageBlobEntry {
  const entry = catalog.pageBlobs.get(name);
  if (!entry) throw invalid(name, 'there is no such page blob');
  return entry;
}

function snapshotOf(name: string, entry: PageBlobEntry, snapshot: string): PageBlobEntry['snapshots'][number] {
  const found = entry.snapshots.find(({ id }) => id === snapshot);
  if (!found) throw invalid(name, `it has no snapshot ${snapshot}`);
  return found;
}
