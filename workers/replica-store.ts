/** The replica store of a site, whichever kind it is of. */
import { isInside } from '../disks/inside-folder.js';
import type { StoreAddress } from '../domain/store-address.js';
import { EmbeddedReplicaStore } from '../sites/embedded/replica-store.js';
import type { ReplicaStore } from '../sites/ports.js';

/**
 * @param options.create makes a store where there is nothing; never done by a worker: the folder of a file system that is
 * not mounted would become a store without replicas.
 * @throws CatalogueError StoreUnreachable and what else says that there is none.
 */
export async function openReplicaStore(
  address: StoreAddress,
  options: { readonly create?: boolean } = {},
): Promise<ReplicaStore> {
  switch (address.kind) {
    case 'embedded':
      return await EmbeddedReplicaStore.open(address.path, options);
    case 'azure': {
      // Its client takes a while to load, which nobody else should wait for.
      const { openAzureStore } = await import('../sites/azure/store-access.js');
      return await openAzureStore(address.url, options);
    }
  }
}

export async function withReplicaStore<T>(
  address: StoreAddress,
  work: (store: ReplicaStore) => Promise<T>,
): Promise<T> {
  const store = await openReplicaStore(address);
  try {
    return await work(store);
  } finally {
    await store.close();
  }
}

/** Whether a file or folder of this machine lies in the store. */
export const liesInStore = async (address: StoreAddress, file: string): Promise<boolean> =>
  address.kind === 'embedded' && (await isInside(address.path, file));
