import { open, readFile, readdir, utimes } from 'node:fs/promises';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { tryLockFile, unlockFile } from '../../disks/native.js';
import { EmbeddedReplicaStore } from '../../sites/embedded/replica-store.js';
import type { PageWrite, WriteFence } from '../../sites/ports.js';
import { content, failsWith } from '../contracts/replica-store.js';
import { temporaryFolder } from '../support/temporary-folder.js';
import { StoreProcess, buildStore } from './replica-store-process.js';

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
  return { folder, store, other: await StoreProcess.start(built.folder, folder) };
}

describe('a fence raised by another process', () => {
  test.each([
    ['epoch', at(1, 9)],
    ['sequence', at(2, 2)],
  ])('refuses late writes of an older %s', async (_, late) => {
    const { store, other } = await storeWithProcess();
    await other.call('createPageBlob', BLOB, 65_536, late);
    await other.call('writePages', BLOB, [{ offset: 0, data: content(4096, 1) }], late);
    const upload = other.call('uploadUntilReleased', `${SCOPE}/os.changes`, late);
    await other.reached();
    await store.raiseFence(at(2, 3));
    other.release();
    expect((await failsWith('StaleEpoch', upload)).message).toContain('epoch 2, sequence 3');
    await failsWith('StaleEpoch', other.call('writePages', BLOB, [{ offset: 0, data: content(4096, 2) }], late));
    await failsWith('StaleEpoch', other.call('snapshotPageBlob', BLOB, late));
    expect(await store.readPages(BLOB, 0, 4096)).toEqual(content(4096, 1));
    expect(await store.listObjects('')).toEqual([]);
    await other.call('writePages', BLOB, [{ offset: 0, data: content(4096, 2) }], at(2, 3));
  });

  test('waits for a write that has passed the check, and lets no other in before itself', async () => {
    const { folder, store, other } = await storeWithProcess();
    const order: string[] = [];
    const under = other.call('writeWhenReleased', `${SCOPE}/applied.json`, Buffer.from('landed'), at(1, 0));
    await other.reached();
    const raised = store.raiseFence(at(2, 0)).then(() => order.push('fence raised'));
    const gate = await open(path.join(folder, SCOPE, '.scope.gate'), 'r');
    // Once the gate is taken the fence is waiting for the writer, which can't end before it is told to.
    while (tryLockFile(gate.fd, 'shared')) {
      unlockFile(gate.fd);
      await sleep(1);
    }
    await gate.close();
    const third = await StoreProcess.start(built.folder, folder);
    const late = third.call('putObject', `${SCOPE}/late.json`, Buffer.from('late'), at(1, 0));
    const newcomer = failsWith('StaleEpoch', late);
    expect(order).toEqual([]);
    expect(await store.readFence(SCOPE)).toEqual({ epoch: 0, sequence: 0 });
    expect(await store.getObject(`${SCOPE}/applied.json`)).toBeUndefined();
    void under.then(() => order.push('write acknowledged'));
    other.release();
    await raised;
    expect((await store.getObject(`${SCOPE}/applied.json`))?.toString()).toBe('landed');
    await newcomer;
    await under;
    expect(order).toHaveLength(2);
  });

  test('is not kept waiting by writers that never pause', async () => {
    const { folder, store, other } = await storeWithProcess();
    await other.call('createPageBlob', BLOB, 2 ** 20, at(1, 0));
    const writers = [other, await StoreProcess.start(built.folder, folder)].flatMap((writer, index) =>
      [0, 1, 2, 3].map(async (lane) => {
        for (let n = 1; ; n += 1) {
          const offset = (index * 4 + lane) * 65_536;
          await writer.call('writePages', BLOB, [{ offset, data: content(65_536, n) }], at(1, n));
        }
      }),
    );
    const ends = Promise.allSettled(writers);
    await store.raiseFence(at(2, 0));
    const landed = await store.readPages(BLOB, 0, 2 ** 20);
    for (const end of await ends) expect(end).toMatchObject({ status: 'rejected', reason: { code: 'StaleEpoch' } });
    expect((await store.readPages(BLOB, 0, 2 ** 20)).equals(landed)).toBe(true);
  });
});

describe('temporary files', () => {
  test('of a writer that died are swept when they are old, those of a living one never', async () => {
    const { folder, other } = await storeWithProcess();
    const living = await StoreProcess.start(built.folder, folder);
    for (const writer of [other, living]) {
      const upload = writer.call('uploadUntilReleased', `${SCOPE}/os.changes`, at(1, 0));
      upload.catch(() => undefined);
      await writer.reached();
    }
    await other.kill();
    const temporary = path.join(folder, '.tmp');
    await (await EmbeddedReplicaStore.open(folder)).close();
    expect(await readdir(temporary)).toHaveLength(2);
    const old = new Date(Date.now() - 3_600_000);
    for (const entry of await readdir(temporary)) await utimes(path.join(temporary, entry), old, old);
    const store = await EmbeddedReplicaStore.open(folder);
    expect(await readdir(temporary)).toHaveLength(1);
    expect(await store.listObjects('')).toEqual([]);
    living.release();
    while ((await store.getObject(`${SCOPE}/os.changes`)) === undefined) await sleep(5);
    expect((await readFile(path.join(folder, SCOPE, 'os.changes'))).length).toBe(200_000);
  });
});

describe('a writer that is killed', () => {
  const SIZE = 300 * 4096 + 512;

  test(
    'loses nothing it has acknowledged, and no snapshot changes, whenever it dies',
    { timeout: 240_000 },
    async () => {
      const seed = Number(process.env['FARSHORE_SEED'] ?? Math.floor(Math.random() * 2 ** 31));
      const random = generator(seed);
      const pick = (count: number): number => Math.floor(random() * count);
      const folder = path.join(await temporaryFolder(), 'store');
      const store = await EmbeddedReplicaStore.open(folder, { create: true });
      await store.createPageBlob(BLOB, SIZE, at(1, 0));
      let live: Buffer = Buffer.alloc(SIZE);
      const snapshots = new Map<string, Buffer>();
      const cutShort: Record<string, number> = {};
      let writes = 0;
      for (let life = 0; life < 30; life += 1) {
        const writer = await StoreProcess.start(built.folder, folder);
        const death = sleep(pick(60)).then(async () => await writer.kill());
        for (let alive = true; alive;) {
          const dice = pick(10);
          const doomed = [...snapshots.keys()][pick(snapshots.size)];
          if (dice < 6 || (dice >= 8 && (snapshots.size < 4 || doomed === undefined))) {
            const batch = Array.from({ length: 1 + pick(6) }, () => randomWrite(pick, (writes += 1)));
            const next = Buffer.from(live);
            for (const write of batch) applyTo(next, write);
            alive = await survives(writer.call('writePages', BLOB, batch, at(1, 0)));
            if (!alive) expectOldOrNew(await store.readPages(BLOB, 0, SIZE), live, next, batch, seed);
            // What was not acknowledged may have landed in part: from here on what is there is what has to stay.
            live = alive ? next : await store.readPages(BLOB, 0, SIZE);
            if (!alive) cutShort['write'] = (cutShort['write'] ?? 0) + 1;
          } else if (dice < 8) {
            let id: string | undefined;
            alive = await survives(writer.call('snapshotPageBlob', BLOB, at(1, 0)).then((made) => (id = made)));
            const made = id ?? (await store.listSnapshots(BLOB)).find((found) => !snapshots.has(found));
            if (made !== undefined) snapshots.set(made, Buffer.from(live));
            if (!alive) cutShort['snapshot'] = (cutShort['snapshot'] ?? 0) + 1;
          } else {
            const held = snapshots.get(doomed!);
            snapshots.delete(doomed!);
            alive = await survives(writer.call('deleteSnapshot', BLOB, doomed!, at(1, 0)));
            if (!alive && (await store.listSnapshots(BLOB)).includes(doomed!)) snapshots.set(doomed!, held!);
            if (!alive) cutShort['delete'] = (cutShort['delete'] ?? 0) + 1;
            if (!alive && pick(2) === 0) {
              await store.deleteSnapshot(BLOB, doomed!, at(1, 0));
              snapshots.delete(doomed!);
            }
          }
          // A reader beside the writer: snapshots hold still while blocks are on their way into the journals.
          if (pick(4) === 0 && snapshots.size > 0) {
            const [id, held] = [...snapshots][pick(snapshots.size)]!;
            expect((await store.readPages(BLOB, 0, SIZE, id)).equals(held), `snapshot ${id}, seed ${seed}`).toBe(true);
          }
        }
        await death;
        const reopened = await EmbeddedReplicaStore.open(folder);
        expect((await reopened.readPages(BLOB, 0, SIZE)).equals(live), `live, life ${life}, seed ${seed}`).toBe(true);
        expect(await reopened.listSnapshots(BLOB)).toEqual([...snapshots.keys()].toSorted());
        for (const [id, held] of snapshots) {
          const found = await reopened.readPages(BLOB, 0, SIZE, id);
          expect(found.equals(held), `snapshot ${id}, life ${life}, seed ${seed}`).toBe(true);
        }
      }
      // A run in which the writer was never caught at work would prove nothing.
      expect(Object.values(cutShort).reduce((sum, count) => sum + count, 0)).toBe(30);
      expect(cutShort['write']).toBeGreaterThan(3);
    },
  );

  test('a snapshot that is being read is what it was, while another process overwrites the blob', async () => {
    const { store, other } = await storeWithProcess();
    await store.createPageBlob(BLOB, SIZE, at(1, 0));
    const before = content(SIZE, 1);
    await store.writePages(BLOB, [{ offset: 0, data: before }], at(1, 0));
    const id = await store.snapshotPageBlob(BLOB, at(1, 0));
    let writing = true;
    const writer = (async () => {
      for (let block = 0; block < 300; block += 3) {
        const data = content(3 * 4096, block + 2);
        await other.call('writePages', BLOB, [{ offset: block * 4096, data }], at(1, 0));
      }
      writing = false;
    })();
    let reads = 0;
    for (; writing; reads += 1) expect((await store.readPages(BLOB, 0, SIZE, id)).equals(before)).toBe(true);
    await writer;
    expect(reads).toBeGreaterThan(3);
  });
});

async function survives(call: Promise<unknown>): Promise<boolean> {
  try {
    await call;
    return true;
  } catch (error) {
    // Anything but the death we caused is a failure of the store.
    if (/has died|channel closed|EPIPE|ERR_IPC/i.test(String(error))) return false;
    throw error;
  }
}

function randomWrite(pick: (count: number) => number, serial: number): PageWrite {
  const page = pick(300 * 8);
  const pages = 1 + pick(Math.min(120, 300 * 8 - page));
  const offset = page * 512;
  return pick(5) === 0 ? { offset, clear: pages * 512 } : { offset, data: content(pages * 512, serial) };
}

function applyTo(target: Buffer, write: PageWrite): void {
  if ('data' in write) write.data.copy(target, write.offset);
  else target.fill(0, write.offset, write.offset + write.clear);
}

/** Every page is what it was, or what one of the batch's writes made of it. */
function expectOldOrNew(found: Buffer, old: Buffer, next: Buffer, batch: readonly PageWrite[], seed: number): void {
  for (let offset = 0; offset < found.length; offset += 512) {
    const page = (of: Buffer) => of.subarray(offset, offset + 512);
    if (page(found).equals(page(old)) || page(found).equals(page(next))) continue;
    const candidates = batch.map((write) => {
      const copy = Buffer.from(old);
      applyTo(copy, write);
      return page(copy);
    });
    expect(
      candidates.some((candidate) => candidate.equals(page(found))),
      `page at ${offset}, seed ${seed}`,
    ).toBe(true);
  }
}

/** The same numbers for the same seed. */
function generator(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
