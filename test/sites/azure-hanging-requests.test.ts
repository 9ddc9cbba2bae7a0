/** How long a request to a service that hangs is waited for, and how often it is made. */
import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, expect, onTestFinished, test, vi } from 'vitest';
import { Azurite } from '../../client/demo/azurite.js';
import { openAzureStore } from '../../sites/azure-store/store-access.js';
import type { ReplicaStore } from '../../ports/replica-store.js';
import { content, failsWith } from '../contracts/replica-store.js';
import { StoreProxy, type ProxiedRequest } from '../support/store-proxy.js';

const MiB = 1024 * 1024;
const NOW = { scope: 'vms/db-01', epoch: 1, sequence: 0 };
const BLOB = 'vms/db-01/disks/os.vhd';
const OBJECT = 'vms/db-01/applied.json';

let azurite: Azurite;
let proxy: StoreProxy;
let store: ReplicaStore;
beforeAll(async () => {
  azurite = await Azurite.start();
  proxy = await StoreProxy.start(azurite.url);
  const environment = { FARSHORE_STORE_CONNECTION_STRING: azurite.connectionString(proxy.url) };
  store = await openAzureStore(`${proxy.url}/vault-${randomUUID()}`, { create: true }, environment);
  await store.createPageBlob(BLOB, 4 * MiB, NOW);
  await store.writePages(BLOB, [{ offset: 0, data: content(4 * MiB, 1) }], NOW);
  await store.putObject(OBJECT, content(MiB, 2), NOW);
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
  ['a catalog', () => true, () => store.readFence(NOW.scope), small],
  ['a list', ({ url }) => url.includes('comp=list'), () => store.listObjects(''), small],
  [
    'page ranges',
    ({ url }) => url.includes('comp=pagelist'),
    () => store.listPageRanges(BLOB, { offset: 0, length: 4 * MiB }),
    small,
  ],
  ['a snapshot', ({ url }) => url.includes('comp=snapshot'), () => store.snapshotPageBlob(BLOB, NOW), small],
  ['a few pages', pages, () => store.writePages(BLOB, [{ offset: 0, data: content(4096, 3) }], NOW), small],
  ['many pages', pages, () => store.writePages(BLOB, [{ offset: 0, data: content(4 * MiB, 3) }], NOW), large],
  ['a large read', ofDisk, () => store.readPages(BLOB, 0, 4 * MiB), large],
  ['a large object', ofObject, () => store.getObject(OBJECT), large],
  ['a large upload', ofObject, () => store.putObject(OBJECT, content(MiB, 4), NOW), large],
])('%s is waited for twice', async (_, isHanging, work, expected) => {
  const waits = hang(isHanging);
  expect((await failsWith('StoreUnreachable', work())).detail).toContain('did not answer in time');
  expect(waits).toEqual(expected);
});
