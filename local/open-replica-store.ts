/** The replica store of a site, whichever kind it is of. */
import type { StoreAddress } from '../domain/store-address.js';
import { claimStore, requireOwner } from '../replication/vault-owner.js';
import { EmbeddedReplicaStore } from '../sites/folder-store/folder-store.js';
import type { ReplicaStore } from '../ports/replica-store.js';

/** With the id that it was made with, by which it is known from others. */
export type OpenedStore = ReplicaStore & { readonly id: string };

export interface StoreOptions {
  readonly create?: boolean;
  readonly vault?: string;
  /** Told of what the store sends beside the content that it is given, bytes. */
  readonly onCatalogSent?: (bytes: number) => void;
}

/**
 * @param options.vault whose store it has to be; with `create` it becomes that of the vault if it is nobody's yet. Without it the
 * store is taken as it is, as somebody does who has nothing but the store.
 * @param options.create makes a store where there is nothing; never done by a worker: the folder of a file system that is
 * not mounted would become a store without replicas.
 * @throws CatalogueError ForeignVault; StoreUnreachable and what else says that there is none.
 */
export async function openReplicaStore(
  address: StoreAddress,
  { vault, ...options }: StoreOptions = {},
): Promise<OpenedStore> {
  const store = await openAnyones(address, options);
  if (vault === undefined) return store;
  try {
    await (options.create ? claimStore : requireOwner)(store, vault);
    return store;
  } catch (error) {
    await store.close();
    throw error;
  }
}

async function openAnyones(address: StoreAddress, options: Omit<StoreOptions, 'vault'>): Promise<OpenedStore> {
  switch (address.kind) {
    case 'embedded':
      return await EmbeddedReplicaStore.open(address.path, options);
    case 'azure': {
      // Its client takes a while to load, which nobody else should wait for.
      const { openAzureStore } = await import('../sites/azure-store/store-access.js');
      return await openAzureStore(address.url, options);
    }
  }
}

/** @param options as of {@link openReplicaStore}. */
export async function withReplicaStore<T>(
  address: StoreAddress,
  work: (store: ReplicaStore) => Promise<T>,
  options: StoreOptions = {},
): Promise<T> {
  const store = await openReplicaStore(address, options);
  try {
    return await work(store);
  } finally {
    await store.close();
  }
}
