import { randomUUID } from 'node:crypto';
import { BlobServiceClient } from '@azure/storage-blob';
import { afterAll, beforeAll } from 'vitest';
import { Azurite } from '../../client/demo/azurite.js';
import { AzureReplicaStore } from '../../sites/azure-store/replica-store.js';
import { objectsContract } from '../contracts/objects.js';
import { pageBlobsContract } from '../contracts/page-blobs.js';
import { replicaDisksContract } from '../contracts/replica-disks.js';

let azurite: Azurite;
beforeAll(async () => {
  azurite = await Azurite.start();
});
afterAll(() => azurite.stop());

const makeStore = async () => {
  const service = BlobServiceClient.fromConnectionString(azurite.connectionString(), {
    retryOptions: { maxTries: 1 },
  });
  const client = service.getContainerClient(`vault-${randomUUID()}`);
  return { open: () => AzureReplicaStore.open({ client }, { where: client.containerName, create: true }) };
};

objectsContract('azure', makeStore);
pageBlobsContract('azure', makeStore);
replicaDisksContract('azure', makeStore, { histories: 15 });
