/**
 * The replica store in a storage account: a container of page blobs, and of block blobs for everything else. What there
 * is stands in the catalogs of the scopes (catalog-format.ts).
 *
 * How a fence holds: raising it changes the catalog of its scope first, then the sequence number of every page blob below
 * it. Objects, sizes and snapshots come to be by a change of the catalog, which refuses older fences; pages are written
 * on the condition that the blob's sequence number is not higher than the writer's, which the service checks as it
 * writes. So when a fence has been raised, nothing older lands any more, however late it arrives.
 */
import { settleAll } from '../../disks/settle-all.js';
import { compareFences, fenceSchema, type Fence } from '../../domain/fence.js';
import type { Range } from '../../domain/ranges.js';
import { checkScope } from '../blob-names.js';
import type { PageWrite, ReplicaStore, WriteFence, WriteOptions } from '../../ports/replica-store.js';
import { Catalogs } from './catalogs.js';
import { Container } from './container.js';
import type { ContainerAccess } from './container-access.js';
import { FencedChanges } from './fenced-changes.js';
import { Leftovers } from './leftovers.js';
import { Objects } from './objects.js';
import { Snapshots } from './page-blob-snapshots.js';
import { PageBlobs, sequenceNumber } from './page-blobs.js';
import { Requests, type RequestLimits } from './requests.js';
import { openMarker } from './store-marker.js';

export interface OpenOptions {
  /** The store, as error messages call it. */
  readonly where: string;
  /** Makes a store of a container that is missing or empty; a store that is there is opened. */
  readonly create?: boolean;
  readonly limits?: RequestLimits;
  /** Told of each catalog that is sent, bytes. One goes whole with each change, beside the content that it names. */
  readonly onCatalogSent?: (bytes: number) => void;
}

export class AzureReplicaStore implements ReplicaStore {
  #closed = false;
  readonly #catalogs: Catalogs;
  readonly #leftovers: Leftovers;
  readonly #objects: Objects;
  readonly #blobs: PageBlobs;
  readonly #snapshots: Snapshots;

  private constructor(
    private readonly container: Container,
    /** It was made with this one. */
    readonly id: string,
    onCatalogSent?: (bytes: number) => void,
  ) {
    this.#catalogs = new Catalogs(container, onCatalogSent);
    this.#leftovers = new Leftovers(container);
    const changes = new FencedChanges(container, this.#catalogs);
    this.#objects = new Objects(container, this.#catalogs, changes);
    this.#blobs = new PageBlobs(container, this.#catalogs, changes);
    this.#snapshots = new Snapshots(container, this.#catalogs, changes, this.#blobs);
  }

  /** @throws CatalogueError StoreUnreachable, StoreNotFound, StoreUnsuitable, AuthenticationFailed, AuthorizationFailed. */
  static async open(access: ContainerAccess, options: OpenOptions): Promise<AzureReplicaStore> {
    const container = new Container(access, new Requests(access, options.where, options.limits));
    return new AzureReplicaStore(container, await openMarker(access, container, options), options.onCatalogSent);
  }

  putObject = (name: string, data: Buffer, fence: WriteFence): Promise<void> =>
    this.#do(() => this.#objects.put(name, data, fence));
  putObjectIfAbsent = (name: string, data: Buffer, fence: WriteFence): Promise<boolean> =>
    this.#do(() => this.#objects.putIfAbsent(name, data, fence));
  uploadObject = (name: string, chunks: AsyncIterable<Buffer>, fence: WriteFence): Promise<void> =>
    this.#do(() => this.#objects.put(name, chunks, fence));
  getObject = (name: string): Promise<Buffer | undefined> => this.#do(() => this.#objects.get(name));
  listObjects = (prefix: string): Promise<string[]> => this.#do(() => this.#objects.list(prefix));
  deleteObject = (name: string, fence: WriteFence): Promise<void> => this.#do(() => this.#objects.delete(name, fence));

  async readObject(name: string, offset: number, length: number): Promise<Buffer> {
    const target = Buffer.allocUnsafe(length);
    await this.readObjectInto(name, offset, target);
    return target;
  }

  readObjectInto = (name: string, offset: number, target: Buffer): Promise<void> =>
    this.#do(() => this.#objects.readInto(name, offset, target));

  createPageBlob = (name: string, size: number, fence: WriteFence): Promise<void> =>
    this.#do(() => this.#blobs.create(name, size, fence));
  resizePageBlob = (name: string, size: number, fence: WriteFence): Promise<void> =>
    this.#do(() => this.#blobs.resize(name, size, fence));
  pageBlobSize = (name: string, snapshot?: string): Promise<number | undefined> =>
    this.#do(() => this.#blobs.size(name, snapshot));
  writePages = (
    name: string,
    writes: readonly PageWrite[],
    fence: WriteFence,
    options: WriteOptions = {},
  ): Promise<void> => this.#do(() => this.#blobs.write(name, writes, fence, options));

  async readPages(name: string, offset: number, length: number, snapshot?: string): Promise<Buffer> {
    // A length that is none is refused with the range.
    const target = Buffer.allocUnsafe(Number.isSafeInteger(length) && length > 0 ? length : 0);
    await this.#do(() => this.#blobs.readInto(name, { offset, length }, target, snapshot));
    return target;
  }

  readPagesInto = (name: string, offset: number, target: Buffer): Promise<void> =>
    this.#do(() => this.#blobs.readInto(name, { offset, length: target.length }, target));
  listPageRanges = (name: string, range: Range, snapshot?: string): Promise<Range[]> =>
    this.#do(() => this.#blobs.ranges(name, range, snapshot));
  deletePageBlob = (name: string, fence: WriteFence): Promise<void> => this.#do(() => this.#blobs.delete(name, fence));

  snapshotPageBlob = (name: string, fence: WriteFence): Promise<string> =>
    this.#do(() => this.#snapshots.take(name, fence));
  listSnapshots = (name: string): Promise<string[]> => this.#do(() => this.#snapshots.list(name));
  deleteSnapshot = (name: string, snapshot: string, fence: WriteFence): Promise<void> =>
    this.#do(() => this.#snapshots.delete(name, snapshot, fence));

  raiseFence = (fence: WriteFence): Promise<void> => this.#do(() => this.#raise(fence));

  async readFence(scope: string): Promise<Fence> {
    return await this.#do(async () => (await this.#catalogs.of(checkScope(scope)).read()).fence);
  }

  async close(): Promise<void> {
    this.#closed = true;
    await this.#leftovers.ended();
  }

  async #raise(fence: WriteFence): Promise<void> {
    const catalog = this.#catalogs.of(checkScope(fence.scope));
    const { epoch, sequence } = fenceSchema.parse(fence);
    const before = (await catalog.recent()).fence.epoch;
    const { recorded, blobs } = await catalog.change((current) => {
      if (compareFences({ epoch, sequence }, current.fence) > 0) current.fence = { epoch, sequence };
      return { recorded: current.fence, blobs: [...current.pageBlobs.values()].map(({ blob }) => blob) };
    });
    // Also when it is that high already: whoever raised it may have died before this.
    const number = sequenceNumber(recorded);
    await settleAll(blobs.map((blob) => this.container.raiseSequenceNumber(blob, number)));
    if (recorded.epoch > before) this.#leftovers.remove(catalog);
  }

  async #do<T>(work: () => Promise<T>): Promise<T> {
    if (this.#closed) throw new Error('the store is closed');
    return await work();
  }
}
