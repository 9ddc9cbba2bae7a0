/**
 * The replica store in a storage account: a container with page blobs, and block blobs for everything else. The
 * catalogs of the scopes list its content (catalog-format.ts).
 *
 * How fences work: raising one changes the catalog of its scope first, then the sequence number of every page blob in
 * it. Objects, sizes and snapshots come into being by a change of the catalog, which refuses older fences. Pages are
 * written on the condition that the blob's sequence number is not higher than the writer's, which the service checks
 * during the write. So when a fence has been raised, no older write takes effect, however late it arrives.
 */
import { settleAll } from '../../disks/settle-all.js';
import { compareFences, fenceSchema, type Fence } from '../../domain/fence.js';
import { checkScope } from '../blob-names.js';
import type { Objects, WriteFence } from '../../ports/objects.js';
import type { PageBlobs } from '../page-blobs.js';
import type { ReplicaDisks } from '../../ports/replica-disks.js';
import type { ReplicaStore } from '../../ports/replica-store.js';
import { VhdDisks } from '../vhd-disks.js';
import { Catalogs } from './catalogs.js';
import { Container } from './container.js';
import type { ContainerAccess } from './container-access.js';
import { FencedChanges } from './fenced-changes.js';
import { Leftovers } from './leftovers.js';
import { NamedObjects } from './objects.js';
import { Snapshots } from './page-blob-snapshots.js';
import { BlobPages, sequenceNumber } from './page-blobs.js';
import { Requests, type RequestLimits } from './requests.js';
import { openMarker } from './store-marker.js';

export interface OpenOptions {
  /** Name of the store in error messages. */
  readonly where: string;
  /** Creates a store in a missing or empty container; an existing store is opened. */
  readonly create?: boolean;
  readonly limits?: RequestLimits;
  /**
   * Called with the size of each catalog that is sent, bytes. Each change sends a whole catalog in addition to the
   * content it names.
   */
  readonly onCatalogSent?: (bytes: number) => void;
}

export class AzureReplicaStore implements ReplicaStore {
  readonly objects: Objects;
  readonly pageBlobs: PageBlobs;
  readonly disks: ReplicaDisks;
  #closed = false;
  readonly #leftovers: Leftovers;

  private constructor(
    container: Container,
    /** The id with which it was created. */
    readonly id: string,
    onCatalogSent?: (bytes: number) => void,
  ) {
    const catalogs = new Catalogs(container, onCatalogSent);
    this.#leftovers = new Leftovers(container);
    const changes = new FencedChanges(container, catalogs);
    const call: Call = (work) => this.#do(work);
    this.objects = openedObjects(call, new NamedObjects(container, catalogs, changes), {
      raise: async (fence) => await this.#raise(container, catalogs, fence),
      read: async (scope) => (await catalogs.of(checkScope(scope)).read()).fence,
    });
    const blobs = new BlobPages(container, catalogs, changes);
    this.pageBlobs = openedPageBlobs(call, blobs, new Snapshots(container, catalogs, changes, blobs));
    this.disks = new VhdDisks(this.pageBlobs);
  }

  /** @throws CatalogueError StoreUnreachable, StoreNotFound, StoreUnsuitable, AuthenticationFailed, AuthorizationFailed. */
  static async open(access: ContainerAccess, options: OpenOptions): Promise<AzureReplicaStore> {
    const container = new Container(access, new Requests(access, options.where, options.limits));
    return new AzureReplicaStore(container, await openMarker(access, container, options), options.onCatalogSent);
  }

  async close(): Promise<void> {
    this.#closed = true;
    await this.#leftovers.ended();
  }

  async #raise(container: Container, catalogs: Catalogs, fence: WriteFence): Promise<void> {
    const catalog = catalogs.of(checkScope(fence.scope));
    const { epoch, sequence } = fenceSchema.parse(fence);
    const before = (await catalog.recent()).fence.epoch;
    const { recorded, blobs } = await catalog.change((current) => {
      if (compareFences({ epoch, sequence }, current.fence) > 0) current.fence = { epoch, sequence };
      return { recorded: current.fence, blobs: [...current.pageBlobs.values()].map(({ blob }) => blob) };
    });
    // Also if the fence is already that high: the process that raised it may have died before this step.
    const number = sequenceNumber(recorded);
    await settleAll(blobs.map((blob) => container.raiseSequenceNumber(blob, number)));
    if (recorded.epoch > before) this.#leftovers.remove(catalog);
  }

  async #do<T>(work: () => Promise<T>): Promise<T> {
    if (this.#closed) throw new Error('the store is closed');
    return await work();
  }
}

/** Makes a call to the store, which must be open. */
type Call = <T>(work: () => Promise<T>) => Promise<T>;

interface Fences {
  raise(fence: WriteFence): Promise<void>;
  read(scope: string): Promise<Fence>;
}

function openedObjects(call: Call, objects: NamedObjects, fences: Fences): Objects {
  return {
    put: (name, data, fence) => call(() => objects.put(name, data, fence)),
    putIfAbsent: (name, data, fence) => call(() => objects.putIfAbsent(name, data, fence)),
    upload: (name, chunks, fence) => call(() => objects.put(name, chunks, fence)),
    get: (name) => call(() => objects.get(name)),
    read: (name, offset, length) =>
      call(async () => {
        const target = Buffer.allocUnsafe(length);
        await objects.readInto(name, offset, target);
        return target;
      }),
    readInto: (name, offset, target) => call(() => objects.readInto(name, offset, target)),
    list: (prefix) => call(() => objects.list(prefix)),
    listSizes: (prefix) => call(() => objects.listSizes(prefix)),
    delete: (name, fence) => call(() => objects.delete(name, fence)),
    raiseFence: (fence) => call(() => fences.raise(fence)),
    readFence: (scope) => call(() => fences.read(scope)),
  };
}

function openedPageBlobs(call: Call, blobs: BlobPages, snapshots: Snapshots): PageBlobs {
  return {
    create: (name, size, fence) => call(() => blobs.create(name, size, fence)),
    resize: (name, size, fence) => call(() => blobs.resize(name, size, fence)),
    size: (name, snapshot) => call(() => blobs.size(name, snapshot)),
    write: (name, writes, fence, options = {}) => call(() => blobs.write(name, writes, fence, options)),
    readInto: (name, offset, target, { snapshot } = {}) =>
      call(() => blobs.readInto(name, { offset, length: target.length }, target, snapshot)),
    ranges: (name, range, { snapshot } = {}) => call(() => blobs.ranges(name, range, snapshot)),
    delete: (name, fence) => call(() => blobs.delete(name, fence)),
    snapshot: (name, fence) => call(() => snapshots.take(name, fence)),
    listSnapshots: (name) => call(() => snapshots.list(name)),
    deleteSnapshot: (name, snapshot, fence) => call(() => snapshots.delete(name, snapshot, fence)),
  };
}
