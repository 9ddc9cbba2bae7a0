/** How long a request to a service that hangs is waited for, and how often it is made. */
import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, expect, onTestFinished, test, vi } from 'vitest';
import { Azurite } from '../../client/demo/azurite.js';
import { openAzureStore } from '../../sites/azure-store/store-access.js';
import type { AzureReplicaStore } from '../../sites/azure-store/replica-store.js';
import { content } from '../support/content.js';
import { failsWith } from '../support/fails-with.js';
import { StoreProxy, type ProxiedRequest } from '../support/store-proxy.js';
import { readPages } from '../support/read-pages.js';

const MiB = 1024 * 1024;
const NOW = { scope: 'vms/db-01', epoch: 1, sequence: 0 };
const BLOB = 'vms/db-01/disks/os.vhd';
const OBJECT = 'vms/db-01/applied.json';

let azurite: Azurite;
let proxy: StoreProxy;
let store: AzureReplicaStore;
beforeAll(async () => {
  azurite = await Azurite.start();
  proxy = await StoreProxy.start(azurite.url);
  const environment = { FARSHORE_STORE_CONNECTION_STRING: azurite.connectionString(proxy.url) };
  store = await openAzureStore(`${proxy.url}/vault-${randomUUID()}`, { create: true }, environment);
  await store.pageBlobs.create(BLOB, 4 * MiB, NOW);
  await store.pageBlobs.write(BLOB, [{ offset: 0, data: content(4 * MiB, 1) }], NOW);
  await store.objects.put(OBJECT, content(MiB, 2), NOW);
});
afterAll(async () => {
  await proxy.stop();
  await azurite.stop();
});

/** Has the service hang for requests of that kind, and nobody wait for it. @returns how long each would have been, ms. */
function hang(isHanging: (request: ProxiedRequest) => boolean): number[] {
  const waits: number[] = [];
  let asked: { readonly ms: number; readonly given: AbortController };
  const timeouts = vi.spyOn(AbortSignal, 'timeout').mockImplementation((ms) => {
    asked = { ms, given: new AbortController() };
    return asked.given.signal;
  });
  proxy.treat = (request) => {
    if (!isHanging(request)) return 'forward';
    waits.push(asked.ms);
    asked.given.abort();
    return 'cutBefore';
  };
  onTestFinished(() => {
    timeouts.mockRestore();
    proxy.treat = () => 'forward';
  });
  return waits;
}

const pages = ({ url }: ProxiedRequest) => url.includes('comp=page');
const ofDisk = ({ url }: ProxiedRequest) => url.includes('os~');
const ofObject = ({ url }: ProxiedRequest) => url.includes('applied~');
const small = [15_000, 15_000];
const large = [60_000, 60_000];

test.each<[string, Parameters<typeof hang>[0], () => Promise<unknown>, number[]]>([
  ['a catalog', () => true, () => store.objects.readFence(NOW.scope), small],
  ['a list', ({ url }) => url.includes('comp=list'), () => store.objects.list(''), small],
  [
    'page ranges',
    ({ url }) => url.includes('comp=pagelist'),
    () => store.pageBlobs.ranges(BLOB, { offset: 0, length: 4 * MiB }),
    small,
  ],
  ['a snapshot', ({ url }) => url.includes('comp=snapshot'), () => store.pageBlobs.snapshot(BLOB, NOW), small],
  ['a few pages', pages, () => store.pageBlobs.write(BLOB, [{ offset: 0, data: content(4096, 3) }], NOW), small],
  ['many pages', pages, () => store.pageBlobs.write(BLOB, [{ offset: 0, data: content(4 * MiB, 3) }], NOW), large],
  ['a large read', ofDisk, () => readPages(store.pageBlobs, BLOB, 0, 4 * MiB), large],
  ['a large object', ofObject, () => store.objects.get(OBJECT), large],
  ['a large upload', ofObject, () => store.objects.put(OBJECT, content(MiB, 4), NOW), large],
])('%s is waited for twice', async (_, isHanging, work, expected) => {
  const waits = hang(isHanging);
  expect((await failsWith('StoreUnreachable', work())).detail).toContain('did not answer in time');
  expect(waits).toEqual(expected);
});
