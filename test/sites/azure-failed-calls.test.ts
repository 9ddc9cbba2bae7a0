/**
 * Calls that fail while the service has done some or all of what they asked for: whoever called knows nothing of it. What is
 * there afterwards is what was there before, or what was asked for, whole; and never something that can't be read.
 */
import { expect, test } from 'vitest';
import { CatalogueError } from '../../domain/errors.js';
import type { RequestLimits } from '../../sites/azure-store/requests.js';
import { content } from '../support/content.js';
import { failsWith } from '../support/fails-with.js';
import { Random } from '../soak/random.js';
import { proxiedAzurite } from '../support/proxied-azurite.js';
import type { Treatment } from '../support/store-proxy.js';
import { readPages } from '../support/read-pages.js';

const KiB = 1024;
const SIZE = 64 * KiB;
/** Nothing is asked for twice by itself. */
const IMPATIENT: RequestLimits = { timeoutMs: 10_000, tries: 1, firstDelayMs: 1, longestDelayMs: 10 };
const SCOPE = 'vms/db-01';
const BLOB = `${SCOPE}/disks/os.vhd`;
const NOW = { scope: SCOPE, epoch: 1, sequence: 0 };

const account = proxiedAzurite();
const openStore = () => account.newContainer(IMPATIENT)();

/** The next catalog is written, and nobody is told; everything else is as ever. */
function loseTheNextAnswerOfACatalog(): void {
  account.proxy.treat = ({ method, url }) => {
    if (method !== 'PUT' || !decodeURIComponent(url).includes('.catalogs/')) return 'forward';
    account.proxy.treat = () => 'forward';
    return 'cutAfter';
  };
}

test('an object exists if its catalog was written although the answer was lost', async () => {
  const store = await openStore();
  const name = `${SCOPE}/applied.json`;
  await store.objects.put(name, Buffer.from('before'), NOW);
  loseTheNextAnswerOfACatalog();
  await failsWith('StoreUnreachable', store.objects.put(name, Buffer.from('after'), NOW));
  expect((await store.objects.get(name))?.toString()).toBe('after');
});

test('a page blob and a snapshot exist if their catalogs were written although the answers were lost', async () => {
  const store = await openStore();
  loseTheNextAnswerOfACatalog();
  await failsWith('StoreUnreachable', store.pageBlobs.create(BLOB, SIZE, NOW));
  await store.pageBlobs.create(BLOB, SIZE, NOW);
  await store.pageBlobs.write(BLOB, [{ offset: 0, data: content(SIZE, 1) }], NOW);
  loseTheNextAnswerOfACatalog();
  await failsWith('StoreUnreachable', store.pageBlobs.snapshot(BLOB, NOW));
  await store.pageBlobs.write(BLOB, [{ offset: 0, data: content(SIZE, 2) }], NOW);
  const [snapshot] = await store.pageBlobs.listSnapshots(BLOB);
  expect(await readPages(store.pageBlobs, BLOB, 0, SIZE, snapshot)).toEqual(content(SIZE, 1));
  expect(await readPages(store.pageBlobs, BLOB, 0, SIZE)).toEqual(content(SIZE, 2));
});

test('whichever call fails, each object and each snapshot can be read and has permitted contents', async () => {
  const seed = Number(process.env['FARSHORE_SEED'] ?? Math.floor(Math.random() * 2 ** 31));
  const random = new Random(seed);
  const store = await openStore();
  await store.pageBlobs.create(BLOB, SIZE, NOW);
  const faults: readonly Treatment[] = ['cutBefore', 'cutAfter', 'cutAfter', 'cutWithin'];
  const failing = () => (random.next() < 1 / 5 ? random.of(faults) : 'forward');
  let failed = 0;
  /** @returns whether it was done, as far as the caller is told. */
  const done = async (work: () => Promise<unknown>) => {
    account.proxy.treat = failing;
    try {
      await work();
      return true;
    } catch (error) {
      if (!(error instanceof CatalogueError && error.code === 'StoreUnreachable')) throw error;
      failed += 1;
      return false;
    } finally {
      account.proxy.treat = () => 'forward';
    }
  };
  /** By name, what may be there; undefined is nothing. */
  const objects = new Map(['a', 'b', 'c'].map((name) => [`${SCOPE}/${name}.json`, [undefined as string | undefined]]));
  /** What the pages, which are written whole, may hold now; a snapshot holds one that they could at some time. */
  let pages = [0];
  const ever = new Set(pages);
  await store.pageBlobs.write(BLOB, [{ offset: 0, data: content(SIZE, 0) }], NOW);
  for (let step = 1; step <= 250; step += 1) {
    const name = random.of([...objects.keys()]);
    const before = objects.get(name)!;
    const dice = random.next();
    if (dice < 0.5) {
      const put = await done(() => store.objects.put(name, Buffer.from(`${step}`), NOW));
      objects.set(name, put ? [`${step}`] : [...before, `${step}`]);
    } else if (dice < 0.6) {
      objects.set(name, (await done(() => store.objects.delete(name, NOW))) ? [undefined] : [...before, undefined]);
    } else if (dice < 0.8) {
      const written = await done(() => store.pageBlobs.write(BLOB, [{ offset: 0, data: content(SIZE, step) }], NOW));
      pages = written ? [step] : [...pages, step];
      ever.add(step);
    } else {
      await done(() => store.pageBlobs.snapshot(BLOB, NOW));
    }
    const found = (await store.objects.get(name))?.toString();
    expect(objects.get(name), `${name} in step ${step}, seed ${seed}`).toContain(found);
    // What was seen once does not become what it was before.
    objects.set(name, [found]);
  }
  const isOf = (data: Buffer, steps: Iterable<number>) => [...steps].some((step) => data.equals(content(SIZE, step)));
  expect(isOf(await readPages(store.pageBlobs, BLOB, 0, SIZE), pages), `seed ${seed}`).toBe(true);
  for (const snapshot of await store.pageBlobs.listSnapshots(BLOB)) {
    expect(
      isOf(await readPages(store.pageBlobs, BLOB, 0, SIZE, snapshot), ever),
      `snapshot ${snapshot}, seed ${seed}`,
    ).toBe(true);
  }
  expect(failed).toBeGreaterThan(20);
});

test('a page blob that is larger than the service accepts is refused before any request', async () => {
  const store = await openStore();
  await store.pageBlobs.create(BLOB, SIZE, NOW);
  let asked = 0;
  account.proxy.treat = ({ method }) => {
    if (method === 'PUT') asked += 1;
    return 'forward';
  };
  const large = 8 * 1024 ** 4 + 512;
  const told = await failsWith('PrerequisitesNotMet', store.pageBlobs.create(`${SCOPE}/disks/large.vhd`, large, NOW));
  expect(told.detail).toContain('make the disk smaller');
  await failsWith('PrerequisitesNotMet', store.pageBlobs.resize(BLOB, large, NOW));
  expect(asked).toBe(0);
  expect(await store.pageBlobs.size(BLOB)).toBe(SIZE);
});
