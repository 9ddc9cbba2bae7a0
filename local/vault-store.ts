/**
 * The store of a vault as this machine knows it: created once, and recognized by its id from then on. A folder whose
 * file system is not mounted must neither become a store nor be taken for one: cycles would be sent into it, and their
 * logs deleted.
 */
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { z } from 'zod';
import { CatalogueError } from '../domain/errors.js';
import { nameSchema } from '../domain/ids.js';
import type { Site } from '../domain/site.js';
import { formatStoreAddress } from '../domain/store-address.js';
import { isRememberedAsReplicated, isTracked } from '../sites/hypervisor/replicated-vm.js';
import type { DataFolder } from '../config/data-folder.js';
import { heldReplicas } from '../replication/held-replicas.js';
import { replaceFile } from '../config/durable-file.js';
import { openReplicaStore, type OpenedStore, type StoreOptions } from './open-replica-store.js';

/** The store id of each vault that this machine has worked for. */
const knownSchema = z.record(nameSchema, z.object({ id: z.uuid(), where: z.string() }));
type Known = z.infer<typeof knownSchema>;

export class VaultStore {
  constructor(
    private readonly data: DataFolder,
    private readonly site: Pick<Site, 'vault' | 'vms'>,
  ) {}

  /**
   * Opens the existing store, and remembers it if none is known here yet.
   * @param options.remember false for callers that only look. @default true
   * @throws CatalogueError KnownStoreMissing if it is not the known store; ForeignVault; or the reason why there is no
   * store.
   */
  async open({
    remember = true,
    ...options
  }: Pick<StoreOptions, 'onCatalogSent'> & { readonly remember?: boolean } = {}): Promise<OpenedStore> {
    const { name, store } = this.site.vault;
    const known = (await this.#known())[name];
    const opened = await openReplicaStore(store, { ...options, vault: name }).catch((error: unknown) => {
      if (!known || !saysThatThereIsNone(error)) throw error;
      throw this.#missing(
        `${(error as CatalogueError).detail}; according to ${this.data.knownStores()}, the vault's store has the id ${known.id}`,
        error,
      );
    });
    if (known?.id === opened.id) return opened;
    if (known) {
      await opened.close();
      throw this.#missing(
        `the store at ${formatStoreAddress(store)} has the id ${opened.id}; according to ${this.data.knownStores()}, the vault's store has the id ${known.id}`,
      );
    }
    if (remember) await this.#remember(opened.id);
    return opened;
  }

  /**
   * Whether the store exists. @throws CatalogueError KnownStoreMissing in three cases: another store than the known one
   * is there; none is known, and the store holds no replica of the VMs tracked on this machine; or there is no store,
   * although one is known or a hypervisor of this machine replicates a VM (or did, before its data folder was lost).
   */
  async isThere(): Promise<boolean> {
    try {
      const store = await this.open({ remember: false });
      try {
        await this.#refuseStranger(store);
        await this.#remember(store.id);
      } finally {
        await store.close();
      }
      return true;
    } catch (error) {
      if (!saysThatThereIsNone(error)) throw error;
      this.#refuseWithReplicas(await this.#replicatedHere(), 'this machine has made', error);
      return false;
    }
  }

  /** If the id is lost, the store is recognized by its replicas of the VMs that are tracked here. */
  async #refuseStranger(store: OpenedStore): Promise<void> {
    if ((await this.#known())[this.site.vault.name]) return;
    const isTrackedHere = await Promise.all(this.site.vms.map(isTracked));
    const tracked = this.site.vms.map(({ name }) => name).filter((_, index) => isTrackedHere[index]);
    if (tracked.length === 0) return;
    const held = await heldReplicas(store);
    if (held.some(({ vm }) => tracked.includes(vm))) return;
    const where = formatStoreAddress(this.site.vault.store);
    throw this.#missing(`the store at ${where} has the id ${store.id} and no replica of ${tracked.join(', ')}`);
  }

  /**
   * Creates a store if there is none; otherwise uses the existing one.
   * @param replicated VMs that are known to have a replica: their store exists and must not be created.
   * @throws CatalogueError KnownStoreMissing, ForeignVault, or the reason why none can be created.
   */
  async make(replicated: readonly string[]): Promise<void> {
    const { name, store } = this.site.vault;
    this.#refuseWithReplicas(replicated, 'Temporal knows');
    const made = await openReplicaStore(store, { create: true, vault: name });
    await made.close();
    await this.#remember(made.id);
  }

  /**
   * VMs that a hypervisor of this machine has begun to replicate. If the hypervisor's state was lost with the data
   * folder, change logs still show it. Otherwise a source whose VM was failed over would start again, beside a new
   * store that knows of no failover.
   */
  async #replicatedHere(): Promise<string[]> {
    const hosts = await this.data.hypervisorHosts();
    const isReplicated = await Promise.all(
      this.site.vms.map(async (vm) => {
        const files = hosts.map((host) => path.join(this.data.hypervisorState(host), `${vm.name}.json`));
        const remembered = await Promise.all(files.map(isRememberedAsReplicated));
        return remembered.includes(true) || (await isTracked(vm));
      }),
    );
    return this.site.vms.map(({ name }) => name).filter((_, index) => isReplicated[index]);
  }

  /** Damaged content counts as empty: the store is remembered again when it is opened. */
  async #known(): Promise<Known> {
    const text = await readFile(this.data.knownStores(), 'utf8').catch(() => '');
    try {
      return knownSchema.parse(JSON.parse(text));
    } catch {
      return {};
    }
  }

  async #remember(id: string): Promise<void> {
    const { name, store } = this.site.vault;
    const known = { ...(await this.#known()), [name]: { id, where: formatStoreAddress(store) } };
    await this.data.make();
    await replaceFile(this.data.knownStores(), `${JSON.stringify(known, undefined, 2)}\n`);
  }

  /** @param who knows of them: such as "Temporal knows". */
  #refuseWithReplicas(vms: readonly string[], who: string, cause?: unknown): void {
    if (vms.length === 0) return;
    const where = formatStoreAddress(this.site.vault.store);
    throw this.#missing(`there is no store at ${where}, but ${who} replicas of ${vms.join(', ')}`, cause);
  }

  #missing(detail: string, cause?: unknown): CatalogueError {
    return new CatalogueError('KnownStoreMissing', detail, { cause });
  }
}

const saysThatThereIsNone = (error: unknown): boolean =>
  error instanceof CatalogueError && (error.code === 'StoreUnreachable' || error.code === 'StoreNotFound');
