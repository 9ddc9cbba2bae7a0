/**
 * How much the records of a copy, and of a resynchronization, cost a store that keeps a catalog: our records, compared
 * with one object per slice.
 */
import { open } from 'node:fs/promises';
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import path from 'node:path';
import { Azurite } from '../client/demo/azurite.js';
import { formatBytes } from '../domain/bytes.js';
import { vaultPaths } from '../domain/vault.js';
import { RawDisk } from '../disks/raw.js';
import { SliceDigests } from '../replication/digest.js';
import { inParallel } from '../concurrency/in-parallel.js';
import { prepareReplica } from '../replication/replica.js';
import { beginResync } from '../replication/resync.js';
import { copySlice } from '../replication/seed.js';
import { sliceCount, sliceRange, SLICE_SIZE } from '../replication/seed-record.js';
import { digestReplica } from '../replication/target-digests.js';
import { verifySeed } from '../replication/verify-seed.js';
import { openAzureStore } from '../sites/azure-store/store-access.js';
import { required, type Bench, type Outcome } from './figures.js';
import { growthSizes } from './growth-sizes.js';
import { createSparse } from './images.js';
import { withScratch } from './scratch.js';

const VM = 'bench-01';
const FENCE = { epoch: 1, sequence: 0 };
/** One in this many slices has data. */
const DATA_EVERY = 16;
const BLOCK = 64 * 1024;
/** Requests at a time, as in a copy. */
const FORMERLY_IN_FLIGHT = 8;

export const sliceCatalog: Bench = {
  name: 'slice-catalog',
  summary:
    'bytes of catalogs that the records of copying and resynchronizing a sparse disk write, against a record for each slice',
  run: (say) => withScratch((folder) => measure(folder, say)),
};

async function measure(folder: string, say: (line: string) => void): Promise<Outcome[]> {
  const size = growthSizes.diskGiB() * 1024 ** 3;
  const file = path.join(folder, 'source.raw');
  await createSparse(file, size);
  const handle = await open(file, 'r+');
  for (let slice = 0; slice < sliceCount(size); slice += DATA_EVERY) {
    await handle.write(Buffer.alloc(BLOCK, slice + 1), 0, BLOCK, slice * SLICE_SIZE);
  }
  await handle.close();

  const ours = await catalogBytes('ours', async (url) => {
    const store = await openAzureStore(url, { create: true });
    const source = await RawDisk.open(file, { readOnly: true });
    await prepareReplica(store, descriptionOf(size), FENCE);
    const task = { vm: VM, disk: 'os', fromOffset: 0, maxBytes: Infinity, fence: FENCE };
    await copySlice(store, source, task);
    await source.close();
    await store.close();
  });
  say(`packed: ${formatBytes(ours.bytes)} of catalogs in ${ours.seconds.toFixed(1)} s, the copy included`);
  const resync = await catalogBytes('resync', async (url, countFromHere) => {
    const store = await openAzureStore(url, { create: true });
    const source = await RawDisk.open(file, { readOnly: true });
    await prepareReplica(store, descriptionOf(size), FENCE);
    const task = { vm: VM, disk: 'os', fromOffset: 0, maxBytes: Infinity };
    await copySlice(store, source, { ...task, fence: FENCE });
    await verifySeed(store, { ...task, epoch: 1 });
    countFromHere();
    await beginResync(store, { vm: VM, epoch: 2, disks: [{ name: 'os', size }] });
    await digestReplica(store, { vm: VM, disk: 'os', epoch: 2 });
    await copySlice(store, source, { ...task, fence: { epoch: 2, sequence: 0 } });
    await verifySeed(store, { ...task, epoch: 2 });
    await source.close();
    await store.close();
  });
  say(`packed: ${formatBytes(resync.bytes)} of catalogs in a resynchronization`);
  const peer = await catalogBytes('peer', async (url) => {
    const store = await openAzureStore(url, { create: true });
    const fence = { scope: vaultPaths.vm(VM), ...FENCE };
    const slices = Array.from({ length: sliceCount(size) }, (_, slice) => slice);
    await inParallel(slices, FORMERLY_IN_FLIGHT, async (slice) => {
      const name = `${vaultPaths.seedPrefix(VM, 1, 'os')}${String(slice).padStart(8, '0')}.digests`;
      await store.objects.put(name, new SliceDigests(sliceRange(slice, size)).encode(), fence);
    });
    await store.close();
  });
  say(`one for each slice: ${formatBytes(peer.bytes)} in ${peer.seconds.toFixed(1)} s, the records alone`);
  return [
    {
      name: `catalogs written by the records of a copy of ${growthSizes.diskGiB()} GiB, one object for each slice / ours`,
      unit: 'ratio',
      samples: [peer.bytes / ours.bytes],
      targets: [required('at least', growthSizes.diskGiB() >= 256 ? 10 : 2)],
      details: [
        `ours ${formatBytes(ours.bytes)}, the whole copy`,
        `peer ${formatBytes(peer.bytes)}, the records alone`,
      ],
    },
    {
      // A resynchronization has two records per slice: one of the replica, and one of what was compared with it.
      name: `catalogs written by the records of a resynchronization of ${growthSizes.diskGiB()} GiB, one object for each slice, as a copy has / ours`,
      unit: 'ratio',
      samples: [peer.bytes / resync.bytes],
      targets: [required('at least', growthSizes.diskGiB() >= 256 ? 5 : 1)],
      details: [
        `ours ${formatBytes(resync.bytes)}, the whole resynchronization`,
        `peer ${formatBytes(peer.bytes)}, the records of one copy alone`,
      ],
    },
  ];
}

const descriptionOf = (size: number) => ({
  ...{ vm: VM, host: 'host-1', vmmServer: 'vmm-1', epoch: 1, generation: 2 as const, size: 'Standard_D2s_v5' },
  ...{ osDisk: 'os', networkAdapters: [], finalized: false },
  disks: [{ name: 'os', size, replicaSize: size }],
});

/** Bytes of catalogs that were sent to a separate emulator. */
async function catalogBytes(
  name: string,
  work: (url: string, countFromHere: () => void) => Promise<void>,
): Promise<{ bytes: number; seconds: number }> {
  const azurite = await Azurite.start();
  const { hostname, port } = new URL(azurite.url);
  const agent = new http.Agent({ keepAlive: true });
  let bytes = 0;
  const proxy = http.createServer((request, response) => {
    const { method, url = '', headers } = request;
    const isCatalog = method === 'PUT' && decodeURIComponent(url).includes('.catalogs/');
    request.on('data', (part: Buffer) => {
      if (isCatalog) bytes += part.length;
    });
    const outgoing = http.request({ hostname, port, method, path: url, headers, agent }, (answer) => {
      response.writeHead(answer.statusCode ?? 500, answer.headers);
      answer.pipe(response);
    });
    outgoing.once('error', () => response.destroy());
    request.pipe(outgoing);
  });
  await new Promise<void>((resolve) => proxy.listen(0, '127.0.0.1', resolve));
  const url = `http://127.0.0.1:${(proxy.address() as AddressInfo).port}${new URL(azurite.url).pathname}`;
  process.env['FARSHORE_STORE_CONNECTION_STRING'] = azurite.connectionString(url);
  const started = performance.now();
  try {
    await work(`${url}/${name}`, () => (bytes = 0));
    return { bytes, seconds: (performance.now() - started) / 1000 };
  } finally {
    proxy.close();
    proxy.closeAllConnections();
    agent.destroy();
    await azurite.stop();
  }
}
