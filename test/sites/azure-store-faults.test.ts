/** The store in a storage account behind a network and a service that fail. */
import { describe, expect, test } from 'vitest';
import type { RequestLimits } from '../../sites/azure-store/requests.js';
import { objectsContract } from '../contracts/objects.js';
import { replicaDisksContract } from '../contracts/replica-disks.js';
import { content } from '../support/content.js';
import { failsWith } from '../support/fails-with.js';
import { Random } from '../soak/random.js';
import { proxiedAzurite } from '../support/proxied-azurite.js';
import type { Treatment } from '../support/store-proxy.js';
import { readPages } from '../support/read-pages.js';

const KiB = 1024;
/** Patient, as one request in six fails. */
const PATIENT: RequestLimits = { timeoutMs: 30_000, tries: 12, firstDelayMs: 1, longestDelayMs: 1_000 };
const SCOPE = 'vms/db-01';
const BLOB = `${SCOPE}/disks/os.vhd`;
const NOW = { scope: SCOPE, epoch: 1, sequence: 0 };

const account = proxiedAzurite();

/** A fault in every sixth request; each request meets its own. */
function unreliable(random: Random): () => Treatment {
  const faults: readonly Treatment[] = [{ busy: 0 }, 'cutBefore', 'cutAfter', 'cutAfter', 'cutWithin', { delayMs: 20 }];
  return () => (random.next() < 1 / 6 ? random.of(faults) : 'forward');
}

const makeUnreliable = () => {
  const open = account.newContainer(PATIENT);
  account.proxy.treat = unreliable(new Random(20_261_127));
  return Promise.resolve({ open });
};

objectsContract('azure, where every sixth request fails', makeUnreliable);
replicaDisksContract('azure, where every sixth request fails', makeUnreliable, { histories: 6 });

describe('a service that does not answer', () => {
  const quick: RequestLimits = { timeoutMs: 300, tries: 3, firstDelayMs: 5, longestDelayMs: 2_000 };

  test.each<[string, Treatment, RegExp]>([
    ['is busy', { busy: 0 }, /503/],
    ['asks for more patience than an activity has', { busy: 3_600 }, /503/],
    ['cuts every connection', 'cutBefore', /socket hang up|ECONNRESET/],
    ['takes longer than anybody waits', { delayMs: 2_000 }, /did not answer in time/],
  ])('that %s is unreachable, and usable again afterwards', async (_, treatment, said) => {
    const store = await account.newContainer(quick)();
    await store.pageBlobs.create(BLOB, 64 * KiB, NOW);
    account.proxy.treat = () => treatment;
    for (const work of [
      () => store.objects.put(`${SCOPE}/applied.json`, Buffer.from('x'), NOW),
      () => store.objects.get(`${SCOPE}/applied.json`),
      () => store.pageBlobs.write(BLOB, [{ offset: 0, data: content(4 * KiB, 1) }], NOW),
      () => readPages(store.pageBlobs, BLOB, 0, 4 * KiB),
      () => store.objects.raiseFence({ ...NOW, sequence: 1 }),
    ]) {
      const error = await failsWith('StoreUnreachable', work());
      expect(error.detail).toMatch(said);
    }
    account.proxy.treat = () => 'forward';
    await store.pageBlobs.write(BLOB, [{ offset: 0, data: content(4 * KiB, 2) }], { ...NOW, sequence: 1 });
    expect(await readPages(store.pageBlobs, BLOB, 0, 4 * KiB)).toEqual(content(4 * KiB, 2));
  });

  test('is retried after the time that it asks for', async () => {
    const store = await account.newContainer({ timeoutMs: 5_000, tries: 2, firstDelayMs: 1, longestDelayMs: 5_000 })();
    const times: number[] = [];
    account.proxy.treat = () => (times.push(performance.now()) === 1 ? { busy: 1 } : 'forward');
    expect(await store.objects.get(`${SCOPE}/applied.json`)).toBeUndefined();
    expect(times[1]! - times[0]!).toBeGreaterThanOrEqual(990);
  });
});

describe('data damaged on its way', () => {
  test('is not accepted', async () => {
    const store = await account.newContainer({ timeoutMs: 5_000, tries: 2, firstDelayMs: 1, longestDelayMs: 5 })();
    await store.pageBlobs.create(BLOB, 64 * KiB, NOW);
    const pages = ({ url }: { url: string }) => url.includes('comp=page');
    account.proxy.treat = (request) => (pages(request) ? 'flipBit' : 'forward');
    await failsWith('UploadDamaged', store.pageBlobs.write(BLOB, [{ offset: 0, data: content(4 * KiB, 1) }], NOW));
    account.proxy.treat = () => 'forward';
    expect(await readPages(store.pageBlobs, BLOB, 0, 4 * KiB)).toEqual(Buffer.alloc(4 * KiB));
    // Once in a while: it is sent again.
    let flipped = false;
    account.proxy.treat = (request) => (!pages(request) || flipped ? 'forward' : ((flipped = true), 'flipBit'));
    await store.pageBlobs.write(BLOB, [{ offset: 0, data: content(4 * KiB, 1) }], NOW);
    expect(await readPages(store.pageBlobs, BLOB, 0, 4 * KiB)).toEqual(content(4 * KiB, 1));
  });
});
