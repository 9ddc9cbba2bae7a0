import { randomUUID } from 'node:crypto';
import { BlobServiceClient } from '@azure/storage-blob';
import { afterAll, beforeAll } from 'vitest';
import { Azurite } from '../../client/demo/azurite.js';
import { AzureReplicaStore } from '../../sites/azure-store/replica-store.js';
import { replicaStoreContract } from '../contracts/replica-store.js';

let azurite: Azurite;
beforeAll(async () => {
  azurite = await Azurite.start();
});
afterAll(() => azurite.stop());

replicaStoreContract(
  'azure',
  async () => {
    const service = BlobServiceClient.fromConnectionString(azurite.connectionString(), {
      retryOptions: { maxTries: 1 },
    });
    const client = service.getContainerClient(`vault-${randomUUID()}`);
    return { open: () => AzureReplicaStore.open({ client }, { where: client.containerName, create: true }) };
  },
  { histories: 15 },
);
