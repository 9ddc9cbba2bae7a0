/** Processes that use a storage account are killed: the engine, and whoever writes pages. */
import { randomUUID } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { BlobServiceClient } from '@azure/storage-blob';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { Azurite } from '../../client/demo/azurite.js';
import { fetchReplica } from '../../client/demo/replica-file.js';
import { killedEngineContract } from '../contracts/killed-engine.js';
import { killedWriterContract } from '../contracts/killed-writer.js';
import type { StorePlace } from '../support/store-place.js';
import { temporaryFolder } from '../support/temporary-folder.js';

let azurite: Azurite;
beforeAll(async () => {
  azurite = await Azurite.start();
  vi.stubEnv('FARSHORE_STORE_CONNECTION_STRING', azurite.connectionString());
});
afterAll(async () => {
  vi.unstubAllEnvs();
  await azurite.stop();
});

/** A service goes on for a moment with what it was asked by somebody who has died since, ms. */
const SERVICE_SETTLES_MS = 300;

/** A container of its own. */
async function containerPlace(): Promise<StorePlace> {
  const name = `vault-${randomUUID()}`;
  const folder = await temporaryFolder();
  const environment = { FARSHORE_STORE_CONNECTION_STRING: azurite.connectionString() };
  const container = BlobServiceClient.fromConnectionString(azurite.connectionString()).getContainerClient(name);
  return {
    address: { kind: 'azure', url: `${azurite.url}/${name}` },
    environment,
    settled: () => sleep(SERVICE_SETTLES_MS),
    replica: (vm, disk) => fetchReplica(container, { vm, name: disk }, folder),
  };
}

killedEngineContract('azure', containerPlace);
killedWriterContract('azure', containerPlace);

test('the remains of a process that was killed while it created a disk are not mistaken for the live disk', async () => {
  const container = BlobServiceClient.fromConnectionString(azurite.connectionString()).getContainerClient(
    `vault-${randomUUID()}`,
  );
  await container.create();
  const bytes = 1024;
  for (const [blob, blobSequenceNumber] of [
    ['vms/db-01/disks/os~b.vhd', 7],
    ['vms/db-01/disks/os~a.vhd', 2],
  ] as const) {
    await container.getPageBlobClient(blob).create(bytes, { blobSequenceNumber });
  }
  const live = Buffer.alloc(bytes, 'live');
  await container.getPageBlobClient('vms/db-01/disks/os~b.vhd').uploadPages(live, 0, bytes);
  const file = await fetchReplica(container, { vm: 'db-01', name: 'os' }, await temporaryFolder());
  expect(live.equals(await readFile(file))).toBe(true);
});
