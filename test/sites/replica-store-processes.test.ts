import { open, readFile, readdir, utimes } from 'node:fs/promises';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { tryLockFile, unlockFile } from '../../disks/native.js';
import { EmbeddedReplicaStore } from '../../sites/folder-store/folder-store.js';
import type { WriteFence } from '../../ports/objects.js';
import { killedWriterContract } from '../contracts/killed-writer.js';
import { content } from '../support/content.js';
import { failsWith } from '../support/fails-with.js';
import { embeddedPlace } from '../support/store-place.js';
import { temporaryFolder } from '../support/temporary-folder.js';
import { StoreProcess, buildStore } from './replica-store-process.js';
import { readPages } from '../support/read-pages.js';

const SCOPE = 'vms/db-01';
const BLOB = `${SCOPE}/disks/os.vhd`;
const at = (epoch: number, sequence: number): WriteFence => ({ epoch, sequence, scope: SCOPE });

let built: Awaited<ReturnType<typeof buildStore>>;
beforeAll(async () => {
  built = await buildStore();
});
afterAll(async () => await built.remove());

async function storeWithProcess(): Promise<{ folder: string; store: EmbeddedReplicaStore; other: StoreProcess }> {
  const folder = path.join(await temporaryFolder(), 'store');
  const store = await EmbeddedReplicaStore.open(folder, { create: true });
  return { folder, store, other: await StoreProcess.start(built.folder, { kind: 'embedded', path: folder }) };
}

describe('a fence raised by another process', () => {
  test.each([
    ['epoch', at(1, 9)],
    ['sequence', at(2, 2)],
  ])('refuses late writes of an older %s', async (_, late) => {
    const { store, other } = await storeWithProcess();
    await other.call('pageBlobs.create', BLOB, 65_536, late);
    await other.call('pageBlobs.write', BLOB, [{ offset: 0, data: content(4096, 1) }], late);
    const upload = other.call('uploadUntilReleased', `${SCOPE}/os.changes`, late);
    await other.reached();
    await store.objects.raiseFence(at(2, 3));
    other.release();
    expect((await failsWith('StaleEpoch', upload)).message).toContain('epoch 2, sequence 3');
    await failsWith('StaleEpoch', other.call('pageBlobs.write', BLOB, [{ offset: 0, data: content(4096, 2) }], late));
    await failsWith('StaleEpoch', other.call('pageBlobs.snapshot', BLOB, late));
    expect(await readPages(store.pageBlobs, BLOB, 0, 4096)).toEqual(content(4096, 1));
    expect(await store.objects.list('')).toEqual([]);
    await other.call('pageBlobs.write', BLOB, [{ offset: 0, data: content(4096, 2) }], at(2, 3));
  });

  test('waits for a write that has passed the fence check, and lets no later write go first', async () => {
    const { folder, store, other } = await storeWithProcess();
    const order: string[] = [];
    const under = other.call('writeWhenReleased', `${SCOPE}/applied.json`, Buffer.from('landed'), at(1, 0));
    await other.reached();
    const raised = store.objects.raiseFence(at(2, 0)).then(() => order.push('fence raised'));
    const gate = await open(path.join(folder, SCOPE, '.scope.gate'), 'r');
    // Once the gate is taken the fence is waiting for the writer, which can't end before it is told to.
    while (tryLockFile(gate.fd, 'shared')) {
      unlockFile(gate.fd);
      await sleep(1);
    }
    await gate.close();
    const third = await StoreProcess.start(built.folder, { kind: 'embedded', path: folder });
    const late = third.call('objects.put', `${SCOPE}/late.json`, Buffer.from('late'), at(1, 0));
    const newcomer = failsWith('StaleEpoch', late);
    expect(order).toEqual([]);
    expect(await store.objects.readFence(SCOPE)).toEqual({ epoch: 0, sequence: 0 });
    expect(await store.objects.get(`${SCOPE}/applied.json`)).toBeUndefined();
    void under.then(() => order.push('write acknowledged'));
    other.release();
    await raised;
    expect((await store.objects.get(`${SCOPE}/applied.json`))?.toString()).toBe('landed');
    await newcomer;
    await under;
    expect(order).toHaveLength(2);
  });

  test('is not kept waiting by writers that never pause', async () => {
    const { folder, store, other } = await storeWithProcess();
    await other.call('pageBlobs.create', BLOB, 2 ** 20, at(1, 0));
    const writers = [other, await StoreProcess.start(built.folder, { kind: 'embedded', path: folder })].flatMap(
      (writer, index) =>
        [0, 1, 2, 3].map(async (lane) => {
          for (let n = 1; ; n += 1) {
            const offset = (index * 4 + lane) * 65_536;
            await writer.call('pageBlobs.write', BLOB, [{ offset, data: content(65_536, n) }], at(1, n));
          }
        }),
    );
    const ends = Promise.allSettled(writers);
    await store.objects.raiseFence(at(2, 0));
    const landed = await readPages(store.pageBlobs, BLOB, 0, 2 ** 20);
    for (const end of await ends) expect(end).toMatchObject({ status: 'rejected', reason: { code: 'StaleEpoch' } });
    expect((await readPages(store.pageBlobs, BLOB, 0, 2 ** 20)).equals(landed)).toBe(true);
  });
});

describe('temporary files', () => {
  test('of a dead writer are deleted when they are old, those of a living writer never are', async () => {
    const { folder, other } = await storeWithProcess();
    const living = await StoreProcess.start(built.folder, { kind: 'embedded', path: folder });
    for (const writer of [other, living]) {
      const upload = writer.call('uploadUntilReleased', `${SCOPE}/os.changes`, at(1, 0));
      upload.catch(() => undefined);
      await writer.reached();
    }
    await other.kill();
    const temporary = path.join(folder, '.tmp', `${encodeURIComponent(SCOPE)}.0`);
    await (await EmbeddedReplicaStore.open(folder)).close();
    expect(await readdir(temporary)).toHaveLength(2);
    const old = new Date(Date.now() - 3_600_000);
    for (const entry of await readdir(temporary)) await utimes(path.join(temporary, entry), old, old);
    const store = await EmbeddedReplicaStore.open(folder);
    expect(await readdir(temporary)).toHaveLength(1);
    expect(await store.objects.list('')).toEqual([]);
    living.release();
    while ((await store.objects.get(`${SCOPE}/os.changes`)) === undefined) await sleep(5);
    expect((await readFile(path.join(folder, SCOPE, 'os.changes'))).length).toBe(200_000);
  });
});

killedWriterContract('embedded', embeddedPlace);

describe('a reader beside a writer', () => {
  const SIZE = 300 * 4096 + 512;

  test('a snapshot keeps its contents while it is read and another process overwrites the blob', async () => {
    const { store, other } = await storeWithProcess();
    await store.pageBlobs.create(BLOB, SIZE, at(1, 0));
    const before = content(SIZE, 1);
    await store.pageBlobs.write(BLOB, [{ offset: 0, data: before }], at(1, 0));
    const id = await store.pageBlobs.snapshot(BLOB, at(1, 0));
    let writing = true;
    const writer = (async () => {
      for (let block = 0; block < 300; block += 3) {
        const data = content(3 * 4096, block + 2);
        await other.call('pageBlobs.write', BLOB, [{ offset: block * 4096, data }], at(1, 0));
      }
      writing = false;
    })();
    let reads = 0;
    for (; writing; reads += 1) expect((await readPages(store.pageBlobs, BLOB, 0, SIZE, id)).equals(before)).toBe(true);
    await writer;
    expect(reads).toBeGreaterThan(3);
  });

  test('a reader that is suspended while it reads a snapshot does not block writers, and reads the old contents', async () => {
    const { store, other } = await storeWithProcess();
    await store.pageBlobs.create(BLOB, SIZE, at(1, 0));
    const before = content(SIZE, 1);
    await store.pageBlobs.write(BLOB, [{ offset: 0, data: before }], at(1, 0));
    const ids = [await store.pageBlobs.snapshot(BLOB, at(1, 0)), await store.pageBlobs.snapshot(BLOB, at(1, 0))];
    await store.pageBlobs.write(BLOB, [{ offset: 0, data: content(8 * 4096, 2) }], at(1, 0));
    for (let nth = 1; ; nth += 1) {
      await other.call('stopBefore', ['read'], nth);
      const read = other.call('readPages', BLOB, 0, SIZE, ids[0]);
      if (!(await other.stops(read))) return expect(nth).toBeGreaterThan(3);
      // All that could take a place away from it: overwriting, a further snapshot, and deleting the newer one.
      await store.pageBlobs.write(BLOB, [{ offset: 0, data: content(SIZE, nth + 2) }], at(1, 0));
      ids.push(await store.pageBlobs.snapshot(BLOB, at(1, 0)));
      await store.pageBlobs.deleteSnapshot(BLOB, ids.splice(1, 1)[0]!, at(1, 0));
      other.continue();
      expect(Buffer.from(await read).equals(before), `stopped before read ${nth}`).toBe(true);
    }
  });
});
