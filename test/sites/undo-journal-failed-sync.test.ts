/** A recovery point must not read newer data after a machine was lost, whatever syncs of its journal failed before. */
import { readdir } from 'node:fs/promises';
import path from 'node:path';
import { expect, test } from 'vitest';
import { EmbeddedReplicaStore } from '../../sites/folder-store/folder-store.js';
import type { WriteFence } from '../../ports/objects.js';
import { content } from '../support/content.js';
import { failsWith } from '../support/fails-with.js';
import { failingSync } from '../support/failing-sync.js';
import { temporaryFolder } from '../support/temporary-folder.js';
import { readPages } from '../support/read-pages.js';

const SCOPE = 'vms/db-01';
const NOW: WriteFence = { epoch: 1, sequence: 0, scope: SCOPE };
const BLOB = `${SCOPE}/disks/os.vhd`;
const SIZE = 2 ** 20;
const BLOCK = 4096;

async function storeWithSnapshots(count: number) {
  const folder = path.join(await temporaryFolder(), 'store');
  const store = await EmbeddedReplicaStore.open(folder, { create: true });
  await store.pageBlobs.create(BLOB, SIZE, NOW);
  await store.pageBlobs.write(BLOB, [{ offset: 0, data: content(SIZE, 1) }], NOW);
  const snapshots: string[] = [];
  for (let taken = 0; taken < count; taken += 1) snapshots.push(await store.pageBlobs.snapshot(BLOB, NOW));
  const journals = path.join(folder, `${BLOB}.undo`);
  const bits = (await readdir(journals))
    .filter((one) => one !== 'blob.json')
    .map((one) => path.join(journals, one, 'bits'));
  return { folder, store, snapshots, syncs: await failingSync(...bits) };
}

/** What a machine that is lost now leaves of the store, read by a process that knows nothing of it. */
async function readAfterLoss(folder: string, snapshot: string): Promise<Buffer> {
  const store = await EmbeddedReplicaStore.open(folder);
  const found = await readPages(store.pageBlobs, BLOB, 0, SIZE, snapshot);
  await store.close();
  return found;
}

test.for(['the same process', 'another process'] as const)(
  'a block is overwritten only once its bit is stored, even after a sync of the bits has failed (%s continues)',
  async (who) => {
    const { folder, store, snapshots, syncs } = await storeWithSnapshots(1);
    const newer = [{ offset: 2 * BLOCK, data: content(BLOCK, 2) }];
    syncs.fail = true;
    await failsWith('StoreUnreachable', store.pageBlobs.write(BLOB, newer, NOW));
    syncs.fail = false;
    const goesOn = who === 'the same process' ? store : await EmbeddedReplicaStore.open(folder);
    await goesOn.pageBlobs.write(BLOB, newer, NOW);
    await store.close();
    await goesOn.close();
    await syncs.loseMachine();
    expect((await readAfterLoss(folder, snapshots[0]!)).equals(content(SIZE, 1))).toBe(true);
  },
);

test('a journal is removed only once the bits of the older one that holds its blocks are stored', async () => {
  const { folder, store, snapshots, syncs } = await storeWithSnapshots(2);
  await store.pageBlobs.write(BLOB, [{ offset: 0, data: content(4 * BLOCK, 2) }], NOW);
  syncs.fail = true;
  await failsWith('StoreUnreachable', store.pageBlobs.deleteSnapshot(BLOB, snapshots[1]!, NOW));
  syncs.fail = false;
  await store.pageBlobs.deleteSnapshot(BLOB, snapshots[1]!, NOW);
  await store.close();
  await syncs.loseMachine();
  expect((await readAfterLoss(folder, snapshots[0]!)).equals(content(SIZE, 1))).toBe(true);
});
