/** What a storage account's catalogs cost counts towards the bandwidth of a host; they themselves, and fences, never wait. */
import { expect, test } from 'vitest';
import { REQUEST_LIMITS } from '../../sites/azure-store/requests.js';
import { BandwidthLimiter } from '../../sites/bandwidth-limiter.js';
import { LimitedStore } from '../../sites/limited-store.js';
import { proxiedAzurite } from '../support/proxied-azurite.js';
import { FakeClock } from './fake-clock.js';

const RATE = 10_000;
const RECORDS = 1_000;
const scope = 'vms/db-01';
const fence = { scope, epoch: 1, sequence: 0 };
const raised = { ...fence, sequence: 1 };
const azurite = proxiedAzurite();

test('content waits for bandwidth after catalogs were sent; a fence never waits', async () => {
  const clock = new FakeClock();
  const limiter = new BandwidthLimiter({ rateAt: () => RATE, lowest: RATE }, clock);
  const store = await azurite.newContainer(REQUEST_LIMITS, (bytes) => limiter.spend(bytes))();
  const catalogs: number[] = [];
  azurite.proxy.treat = ({ method, url, bytes }) => {
    if (method === 'PUT' && url.includes('.catalogs')) catalogs.push(bytes);
    return 'forward';
  };
  // As many as the recovery points of some hours; what is put at once changes the catalog together.
  const names = Array.from({ length: RECORDS }, (_, index) => `${scope}/points/${index}.json`);
  await Promise.all(names.map((name) => store.objects.put(name, Buffer.alloc(1), fence)));

  const began = clock.now();
  await store.objects.raiseFence(raised);
  expect(clock.now()).toBe(began);
  expect(await store.objects.readFence(scope)).toMatchObject({ epoch: 1, sequence: 1 });

  const owed = catalogs.reduce((sum, bytes) => sum + bytes, 0);
  expect(owed).toBeGreaterThan(RECORDS * 100);
  await clock.drive(new LimitedStore(store, limiter).objects.put(`${scope}/content`, Buffer.alloc(1), raised));
  expect(clock.now() - began).toBeGreaterThanOrEqual(((owed - limiter.burst) / RATE) * 1_000);
  await store.close();
});
