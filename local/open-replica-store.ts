/** Opens the replica store of a site, whichever kind it is. */
import type { StoreAddress } from '../domain/store-address.js';
import { claimStore, requireOwner } from '../replication/vault-owner.js';
import { EmbeddedReplicaStore } from '../sites/folder-store/folder-store.js';
import type { ReplicaStore } from '../ports/replica-store.js';

/** With the id that it got when it was created, by which it is recognized. */
export type OpenedStore = ReplicaStore & { readonly id: string };

export interface StoreOptions {
  readonly create?: boolean;
  readonly vault?: string;
  /** Called with the number of bytes that the store sends in addition to the content it is given. */
  readonly onCatalogSent?: (bytes: number) => void;
}

/**
 * @param options.vault the vault that must own the store; with `create`, an unowned store becomes the vault's. Without
 * it, any store is accepted, for callers that have nothing but the store.
 * @param options.create creates a store if there is none. A worker never does this: the folder of a file system that is
 * not mounted would become a store without replicas.
 * @throws CatalogueError ForeignVault; StoreUnreachable and other reasons why there is no store.
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
      // Loaded only when needed, because the client takes a while to load.
      const { openAzureStore } = await import('../sites/azure-store/store-access.js');
      return await openAzureStore(address.url, options);
    }
  }
}

/** @param options see {@link openReplicaStore}. */
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
