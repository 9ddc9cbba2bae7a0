/** A storage account behind a proxy that can be made to misbehave, for the tests of one file. */
import { randomUUID } from 'node:crypto';
import { BlobServiceClient } from '@azure/storage-blob';
import { afterAll, beforeAll, beforeEach } from 'vitest';
import { Azurite } from '../../client/demo/azurite.js';
import { AzureReplicaStore } from '../../sites/azure-store/replica-store.js';
import type { RequestLimits } from '../../sites/azure-store/requests.js';
import { StoreProxy } from './store-proxy.js';

export interface ProxiedAzurite {
  /** Forwards everything when a test begins. */
  readonly proxy: StoreProxy;
  /** @returns what opens the store in a new container, through the proxy; made when it is opened first. */
  newContainer(limits: RequestLimits, onCatalogSent?: (bytes: number) => void): () => Promise<AzureReplicaStore>;
}

/** Started before the tests of the file that calls this, and stopped after them. */
export function proxiedAzurite(): ProxiedAzurite {
  let azurite: Azurite;
  let proxy: StoreProxy;
  beforeAll(async () => {
    azurite = await Azurite.start();
    proxy = await StoreProxy.start(azurite.url);
  });
  afterAll(async () => {
    await proxy.stop();
    await azurite.stop();
  });
  beforeEach(() => {
    proxy.treat = () => 'forward';
  });
  return {
    get proxy() {
      return proxy;
    },
    newContainer(limits, onCatalogSent) {
      const service = BlobServiceClient.fromConnectionString(azurite.connectionString(proxy.url), {
        retryOptions: { maxTries: 1 },
      });
      const client = service.getContainerClient(`vault-${randomUUID()}`);
      const options = { where: client.containerName, create: true, limits, ...(onCatalogSent && { onCatalogSent }) };
      return () => AzureReplicaStore.open({ client }, options);
    },
  };
}
