/**
 * A change of a catalog is made, its answer is lost, and others change the catalog so often meanwhile that nothing in it
 * remembers that change. What the catalog names then is there all the same, whoever put it.
 */
import { expect, onTestFinished, test, vi } from 'vitest';
import type { AzureReplicaStore } from '../../sites/azure-store/replica-store.js';
import type { RequestLimits } from '../../sites/azure-store/requests.js';
import { content } from '../support/content.js';
import { proxiedAzurite } from '../support/proxied-azurite.js';
import type { Treatment } from '../support/store-proxy.js';
import { readPages } from '../support/read-pages.js';

const LIMITS: RequestLimits = { timeoutMs: 20_000, tries: 2, firstDelayMs: 1, longestDelayMs: 10 };
const SIZE = 4096;
/** More than a catalog remembers. */
const MANY = 34;
const SCOPE = 'vms/db-01';
const BLOB = `${SCOPE}/disks/os.vhd`;
const NAME = `${SCOPE}/applied.json`;
const at = (epoch: number, sequence: number) => ({ scope: SCOPE, epoch, sequence });
const NOW = at(1, 0);

const account = proxiedAzurite();

/** Two processes' stores in a new container, and what opens more of them. */
async function twoStores() {
  const open = account.newContainer(LIMITS);
  const stores = { open, mine: await open(), other: await open() };
  await stores.mine.objects.put(`${SCOPE}/description.json`, Buffer.from('{}'), NOW);
  await stores.mine.objects.readFence(SCOPE);
  await stores.other.objects.readFence(SCOPE);
  return stores;
}

/** The next catalog is written and nobody is told; before that is tried again, others do their work. */
function loseTheNextAnswer(meanwhile: () => Promise<unknown>): void {
  let puts = 0;
  account.proxy.treat = async ({ method, url }) => {
    if (method !== 'PUT' || !decodeURIComponent(url).includes('.catalogs/')) return 'forward';
    puts += 1;
    if (puts === 1) return 'cutAfter';
    account.proxy.treat = () => 'forward';
    await meanwhile();
    return 'forward';
  };
}

async function commitMany(store: AzureReplicaStore, count = MANY): Promise<void> {
  for (let number = 0; number < count; number += 1) {
    await store.objects.put(`${SCOPE}/other.json`, Buffer.from(`${number}`), NOW);
  }
}

const textOf = async (store: AzureReplicaStore, name: string) => (await store.objects.get(name))?.toString();

/** Whether it was done, as far as the caller is told. */
const settled = (work: Promise<unknown>) =>
  work.then(
    () => true,
    () => false,
  );

test('an object exists after its answer was lost', async () => {
  const { mine, other } = await twoStores();
  await mine.objects.put(NAME, Buffer.from('before'), NOW);
  loseTheNextAnswer(() => commitMany(other));
  await mine.objects.put(NAME, Buffer.from('after'), NOW);
  expect(await textOf(other, NAME)).toBe('after');
  expect(await textOf(mine, NAME)).toBe('after');
});

test('an object that was put only if absent exists after its answer was lost, and its writer knows that it created it', async () => {
  const { mine, other } = await twoStores();
  loseTheNextAnswer(() => commitMany(other));
  expect(await mine.objects.putIfAbsent(NAME, Buffer.from('mine'), NOW)).toBe(true);
  expect(await textOf(other, NAME)).toBe('mine');
});

test('a page blob and a snapshot exist after their answers were lost, and the snapshot was taken once', async () => {
  const { mine, other } = await twoStores();
  loseTheNextAnswer(() => commitMany(other));
  await mine.pageBlobs.create(BLOB, SIZE, NOW);
  await other.pageBlobs.write(BLOB, [{ offset: 0, data: content(SIZE, 1) }], NOW);
  loseTheNextAnswer(() => commitMany(other));
  const snapshot = await mine.pageBlobs.snapshot(BLOB, NOW);
  await other.pageBlobs.write(BLOB, [{ offset: 0, data: content(SIZE, 2) }], NOW);
  expect(await other.pageBlobs.listSnapshots(BLOB)).toEqual([snapshot]);
  expect(await readPages(other.pageBlobs, BLOB, 0, SIZE, snapshot)).toEqual(content(SIZE, 1));
  expect(await readPages(other.pageBlobs, BLOB, 0, SIZE)).toEqual(content(SIZE, 2));
});

test.each([
  ['by one process', (other: AzureReplicaStore) => commitMany(other)],
  [
    'by as many processes',
    async (_: AzureReplicaStore, open: () => Promise<AzureReplicaStore>) => {
      for (let number = 0; number < MANY; number += 1) await commitMany(await open(), 1);
    },
  ],
])('an object that another process has put in its place since stays, %s', async (_, commit) => {
  const { open, mine, other } = await twoStores();
  loseTheNextAnswer(async () => {
    await other.objects.put(NAME, Buffer.from('newer'), NOW);
    await commit(other, open);
  });
  await settled(mine.objects.put(NAME, Buffer.from('mine'), NOW));
  expect(await textOf(other, NAME)).toBe('newer');
  expect(await textOf(mine, NAME)).toBe('newer');
});

test('an object exists after as many other processes have committed as are remembered', async () => {
  const { open, mine, other } = await twoStores();
  loseTheNextAnswer(async () => {
    for (let number = 0; number < MANY; number += 1) await commitMany(await open(), 1);
  });
  await mine.objects.put(NAME, Buffer.from('mine'), NOW);
  expect(await textOf(other, NAME)).toBe('mine');
});

test('a writer that others have overtaken, however many, decides again', async () => {
  const { open, mine, other } = await twoStores();
  for (let number = 0; number < MANY; number += 1) await commitMany(await open(), 1);
  await mine.objects.put(NAME, Buffer.from('mine'), NOW);
  await other.objects.raiseFence(at(2, 0));
  expect(await textOf(other, NAME)).toBe('mine');
  expect(await mine.objects.readFence(SCOPE)).toEqual({ epoch: 2, sequence: 0 });
});

test('an object that was deleted and created again by another process stays', async () => {
  const { open, mine, other } = await twoStores();
  await mine.objects.put(NAME, Buffer.from('before'), NOW);
  loseTheNextAnswer(async () => {
    await other.objects.put(NAME, Buffer.from('anew'), NOW);
    for (let number = 0; number < MANY; number += 1) await commitMany(await open(), 1);
  });
  await settled(mine.objects.delete(NAME, NOW));
  expect(await textOf(other, NAME)).toBe('anew');
});

test('a fence that was raised since does not hide existing objects, page blobs and snapshots', async () => {
  const created = (store: AzureReplicaStore) => store.pageBlobs.create(BLOB, SIZE, NOW);
  for (const { before, make } of [
    { make: (store: AzureReplicaStore) => store.objects.put(NAME, Buffer.from('mine'), NOW) },
    { make: created },
    { before: created, make: (store: AzureReplicaStore) => store.pageBlobs.snapshot(BLOB, NOW) },
  ]) {
    const { open, mine, other } = await twoStores();
    await before?.(mine);
    loseTheNextAnswer(async () => {
      for (let number = 0; number < MANY; number += 1) await commitMany(await open(), 1);
      await other.objects.raiseFence(at(2, 0));
    });
    expect(await settled(make(mine))).toBe(false);
    expect(await other.objects.readFence(SCOPE)).toEqual({ epoch: 2, sequence: 0 });
    // The catalog was taken: without its answer nobody knows.
    if (before) expect(await other.pageBlobs.listSnapshots(BLOB)).toHaveLength(1);
    for (const name of await other.objects.list(`${SCOPE}/`)) expect(await textOf(other, name)).toBeDefined();
    if ((await other.pageBlobs.size(BLOB)) === undefined) continue;
    expect(await readPages(other.pageBlobs, BLOB, 0, SIZE)).toEqual(Buffer.alloc(SIZE));
    for (const snapshot of await other.pageBlobs.listSnapshots(BLOB)) {
      expect(await readPages(other.pageBlobs, BLOB, 0, SIZE, snapshot)).toEqual(Buffer.alloc(SIZE));
    }
  }
});

test('a worker whose clock is days ahead deletes nothing that was just written', async () => {
  const { open, mine, other } = await twoStores();
  const late = await open();
  onTestFinished(() => {
    vi.useRealTimers();
  });
  let blob = '';
  // Between its upload and the change of the catalog that names it.
  account.proxy.treat = async ({ method, url }): Promise<Treatment> => {
    if (method !== 'PUT' || !decodeURIComponent(url).includes('.catalogs/')) {
      blob ||= method === 'PUT' ? url : '';
      return 'forward';
    }
    account.proxy.treat = () => 'forward';
    vi.useFakeTimers({ now: Date.now() + 3 * 24 * 60 * 60_000, toFake: ['Date'] });
    await late.objects.raiseFence(at(2, 0));
    await late.close();
    vi.useRealTimers();
    return 'forward';
  };
  await other.objects.put(NAME, Buffer.from('late'), at(3, 0));
  expect(blob).toContain('applied');
  expect(await textOf(mine, NAME)).toBe('late');
});
