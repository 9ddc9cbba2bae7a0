/** A vault's store is made once. What happens to a mount point is played by moving the folder away. */
import { randomUUID } from 'node:crypto';
import { mkdir, rename, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { beforeEach, describe, expect, test } from 'vitest';
import { siteSchema } from '../../domain/site.js';
import { vaultPaths } from '../../domain/vault.js';
import { DataFolder } from '../../config/data-folder.js';
import { isThere } from '../../disks/make-folder.js';
import { VaultStore } from '../../local/vault-store.js';
import { ChangeLog, logPath } from '../../tracking/change-log.js';
import { temporaryFolder } from '../support/temporary-folder.js';

let folder: string;
let data: DataFolder;
let vaultStore: VaultStore;
const storeFolder = () => path.join(folder, 'store');
const marker = (of = storeFolder()) => path.join(of, 'farshore-store.json');

beforeEach(async () => {
  folder = await temporaryFolder();
  data = new DataFolder(path.join(folder, 'data'));
  vaultStore = new VaultStore(data, siteWith('/disks/os'));
});

const siteWith = (disk: string) =>
  siteSchema.parse({
    vault: { name: 'v1', store: { kind: 'embedded', path: storeFolder() } },
    vmmServers: [{ name: 'vmm', clouds: [{ name: 'c1', hosts: [{ name: 'h1' }] }] }],
    vms: [{ name: 'db-01', host: 'h1', disks: [{ name: 'os', path: disk }] }],
  });

/** A disk whose writes are tracked under epoch 1, as a hypervisor that has been stopped leaves it. */
async function trackedDisk(of: string): Promise<string> {
  const disk = path.join(of, 'db-os.raw');
  const log = await ChangeLog.create(logPath(disk, 1, 1), {
    ...{ bootId: randomUUID(), createdAt: 0, vm: 'db-01', disk: 'os', diskSize: 4096 },
    ...{ epoch: 1, sequence: 1, openedByFinalCut: false, firstWrite: 1 },
  });
  await log.abandon();
  return disk;
}

const idOf = async () => {
  const store = await vaultStore.open();
  await store.close();
  return store.id;
};

describe('a store that is known', () => {
  beforeEach(async () => {
    expect(await vaultStore.isThere()).toBe(false);
    await vaultStore.make([]);
  });

  test('is the one that is opened again', async () => {
    const id = await idOf();
    expect(await vaultStore.isThere()).toBe(true);
    expect(await idOf()).toBe(id);
  });

  test('is not created again in the empty folder where it was mounted, and works again when it is back', async () => {
    const id = await idOf();
    await rename(storeFolder(), `${storeFolder()}.away`);
    await mkdir(storeFolder());
    await expect(vaultStore.isThere()).rejects.toMatchObject({
      code: 'KnownStoreMissing',
      detail: expect.stringContaining(id) as string,
    });
    await expect(vaultStore.open()).rejects.toMatchObject({ code: 'KnownStoreMissing' });
    expect(await isThere(marker())).toBe(false);
    await rm(storeFolder(), { recursive: true });
    await rename(`${storeFolder()}.away`, storeFolder());
    expect(await idOf()).toBe(id);
  });

  test('is not confused with another one that is mounted in its place, until --new-store accepts that', async () => {
    const id = await idOf();
    await rename(storeFolder(), `${storeFolder()}.away`);
    await rm(data.knownStores());
    await vaultStore.make([]);
    const other = await idOf();
    expect(other).not.toBe(id);
    await rename(storeFolder(), `${storeFolder()}.other`);
    await rename(`${storeFolder()}.away`, storeFolder());
    await expect(vaultStore.open()).rejects.toMatchObject({ code: 'KnownStoreMissing' });
    await expect(vaultStore.isThere()).rejects.toMatchObject({ code: 'KnownStoreMissing' });
    await vaultStore.make([]);
    expect(await idOf()).toBe(id);
  });
});

describe('a store that is missing and was never known here', () => {
  test('is not created while Temporal knows replicas', async () => {
    expect(await vaultStore.isThere()).toBe(false);
    await expect(vaultStore.make(['app-01', 'db-01'])).rejects.toMatchObject({
      code: 'KnownStoreMissing',
      detail: expect.stringMatching(/Temporal knows replicas of app-01, db-01/) as string,
    });
    expect(await isThere(marker())).toBe(false);
  });

  test('is not created while a hypervisor of this machine replicates a VM of the site', async () => {
    await mkdir(data.hypervisorState('h1'), { recursive: true });
    const state = path.join(data.hypervisorState('h1'), 'db-01.json');
    await writeFile(state, JSON.stringify({ replicatedEpoch: 3 }));
    await expect(vaultStore.isThere()).rejects.toMatchObject({
      code: 'KnownStoreMissing',
      detail: expect.stringMatching(/this machine has made replicas of db-01/) as string,
    });
    await writeFile(state, JSON.stringify({ replicatedEpoch: 0 }));
    expect(await vaultStore.isThere()).toBe(false);
  });

  test('is not created beside change logs, which show that a VM was replicated before the data folder was lost', async () => {
    const disk = await trackedDisk(folder);
    const tracked = new VaultStore(data, siteWith(disk));
    await expect(tracked.isThere()).rejects.toMatchObject({
      code: 'KnownStoreMissing',
      detail: expect.stringMatching(/this machine has made replicas of db-01/) as string,
    });
    expect(await isThere(marker())).toBe(false);
    // A log of that name is no log of this disk.
    await writeFile(`${disk}.0002-00000001.hrl`, 'something else');
    await rm(`${disk}.0001-00000001.hrl`);
    expect(await tracked.isThere()).toBe(false);
  });
});

test('a store without a replica of the VMs tracked here is not taken for the one whose id was lost', async () => {
  await vaultStore.make([]);
  await rm(data.knownStores());
  const tracked = new VaultStore(data, siteWith(await trackedDisk(folder)));
  await expect(tracked.isThere()).rejects.toMatchObject({
    code: 'KnownStoreMissing',
    detail: expect.stringMatching(/has the id \S+ and no replica of db-01/) as string,
  });
  expect(await isThere(data.knownStores())).toBe(false);
  // The one that has it is: what else a store holds says nothing.
  const store = await vaultStore.open({ remember: false });
  const fence = { scope: vaultPaths.vm('db-01'), epoch: 1, sequence: 0 };
  await store.objects.raiseFence(fence);
  await store.objects.put(vaultPaths.description('db-01'), Buffer.from('{'), fence);
  await store.close();
  expect(await tracked.isThere()).toBe(true);
  expect(await isThere(data.knownStores())).toBe(true);
});
