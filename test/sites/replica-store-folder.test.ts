import { execFile } from 'node:child_process';
import { copyFile, mkdir, open, readdir, readFile, rename, rm, stat, truncate, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { promisify } from 'node:util';
import { describe, expect, test } from 'vitest';
import { fixedVhdFooter } from '../../disks/vhd.js';
import { EmbeddedReplicaStore } from '../../sites/folder-store/folder-store.js';
import type { WriteFence } from '../../ports/objects.js';
import type { ReplicaStore } from '../../ports/replica-store.js';
import { content } from '../support/content.js';
import { failsWith } from '../support/fails-with.js';
import { requireReader, runReader } from '../support/readers.js';
import { leave, smallFileSystem } from '../support/small-file-system.js';
import { temporaryFolder } from '../support/temporary-folder.js';
import { readPages } from '../support/read-pages.js';

const run = promisify(execFile);
const SCOPE = 'vms/db-01';
const NOW: WriteFence = { epoch: 1, sequence: 0, scope: SCOPE };
const BLOB = `${SCOPE}/disks/os.vhd`;
/** Where writers to the scope prepare what they write. */
const workFolder = `${encodeURIComponent(SCOPE)}.0`;
const MiB = 2 ** 20;
const GiB = 2 ** 30;

async function newStore(): Promise<{ folder: string; store: EmbeddedReplicaStore }> {
  const folder = path.join(await temporaryFolder(), 'store');
  return { folder, store: await EmbeddedReplicaStore.open(folder, { create: true }) };
}

const allocated = async (file: string): Promise<number> => (await stat(file)).blocks * 512;

describe('a folder that is not the store', () => {
  test('becomes a store only on request, and never if it holds other files', async () => {
    const folder = await temporaryFolder();
    await failsWith('StoreUnreachable', EmbeddedReplicaStore.open(path.join(folder, 'missing')));
    await failsWith('StoreUnreachable', EmbeddedReplicaStore.open(folder));
    await writeFile(path.join(folder, 'thesis.txt'), 'mine');
    await failsWith('StoreUnreachable', EmbeddedReplicaStore.open(folder, { create: true }));
    await failsWith('StoreUnreachable', EmbeddedReplicaStore.open(path.join(folder, 'thesis.txt'), { create: true }));
    // Where Node's own recursive mkdir never returns.
    await failsWith('StoreUnreachable', EmbeddedReplicaStore.open('/proc/farshore', { create: true }));
    expect(await readdir(folder)).toEqual(['thesis.txt']);
  });

  test('that vanishes during a write is unreachable, not damaged, and is not created again', async () => {
    const { folder, store } = await newStore();
    await store.pageBlobs.create(BLOB, MiB, NOW);
    async function* chunks(between: () => Promise<void>): AsyncGenerator<Buffer> {
      yield content(MiB, 1);
      await between();
    }
    const leaves = () => rename(folder, `${folder}-away`);
    await failsWith('StoreUnreachable', store.objects.upload(`${SCOPE}/a/b/c`, chunks(leaves), NOW));
    await rename(`${folder}-away`, folder);
    await store.objects.upload(
      `${SCOPE}/a/b/c`,
      chunks(async () => undefined),
      NOW,
    );
    expect((await store.objects.get(`${SCOPE}/a/b/c`))?.equals(content(MiB, 1))).toBe(true);
  });

  test('created by several processes in parallel becomes one store', async () => {
    const folder = path.join(await temporaryFolder(), 'store');
    const stores = await Promise.all([1, 2, 3, 4].map(() => EmbeddedReplicaStore.open(folder, { create: true })));
    for (const [index, store] of stores.entries()) await store.objects.put(`${SCOPE}/${index}`, Buffer.from('x'), NOW);
    expect(await stores[0]!.objects.list('')).toHaveLength(4);
  });

  test('a marker of another version is refused, not replaced', async () => {
    const { folder } = await newStore();
    await writeFile(path.join(folder, 'farshore-store.json'), '{"format":"farshore replica store","version":2}');
    await failsWith('InvalidReplicaState', EmbeddedReplicaStore.open(folder, { create: true }));
  });

  test('an empty mount point in its place stays empty, and the store is usable when it is back', async () => {
    const { folder, store } = await newStore();
    await store.pageBlobs.create(BLOB, MiB, NOW);
    const snapshot = await store.pageBlobs.snapshot(BLOB, NOW);
    await rename(folder, `${folder}-away`);
    await failsWith('StoreUnreachable', store.objects.get(`${SCOPE}/applied.json`));
    await mkdir(folder);
    const uses: (() => Promise<unknown>)[] = [
      () => store.objects.put(`${SCOPE}/applied.json`, Buffer.from('x'), NOW),
      () => store.objects.putIfAbsent(`${SCOPE}/applied.json`, Buffer.from('x'), NOW),
      () => store.objects.get(`${SCOPE}/applied.json`),
      () => store.objects.read(`${SCOPE}/applied.json`, 0, 1),
      () => store.objects.list(''),
      () => store.objects.delete(`${SCOPE}/applied.json`, NOW),
      () => store.pageBlobs.create(BLOB, MiB, NOW),
      () => store.pageBlobs.size(BLOB),
      () => store.pageBlobs.write(BLOB, [{ offset: 0, data: content(512, 1) }], NOW),
      () => readPages(store.pageBlobs, BLOB, 0, 512),
      () => store.pageBlobs.ranges(BLOB, { offset: 0, length: 512 }),
      () => store.pageBlobs.snapshot(BLOB, NOW),
      () => store.pageBlobs.listSnapshots(BLOB),
      () => store.pageBlobs.deleteSnapshot(BLOB, snapshot, NOW),
      () => store.pageBlobs.delete(BLOB, NOW),
      () => store.objects.raiseFence({ ...NOW, epoch: 5 }),
      () => store.objects.readFence(SCOPE),
      () => EmbeddedReplicaStore.open(folder),
    ];
    for (const use of uses) await failsWith('StoreUnreachable', use());
    expect(await readdir(folder)).toEqual([]);
    const stranger = await EmbeddedReplicaStore.open(folder, { create: true });
    await failsWith('StoreUnreachable', store.objects.put(`${SCOPE}/applied.json`, Buffer.from('x'), NOW));
    expect(await stranger.objects.list('')).toEqual([]);
    await rm(folder, { recursive: true });
    await rename(`${folder}-away`, folder);
    expect(await store.pageBlobs.listSnapshots(BLOB)).toEqual([snapshot]);
    await store.pageBlobs.write(BLOB, [{ offset: 0, data: content(512, 1) }], NOW);
  });
});

describe('files changed by hand, or half-finished by a process that died', () => {
  test('objects and page blobs are not mistaken for one another', async () => {
    const { store } = await newStore();
    await store.pageBlobs.create(BLOB, MiB, NOW);
    await store.objects.put(`${SCOPE}/object`, Buffer.from('kept'), NOW);
    await failsWith('InvalidReplicaState', store.objects.put(BLOB, Buffer.from('x'), NOW));
    await failsWith('InvalidReplicaState', store.objects.putIfAbsent(BLOB, Buffer.from('x'), NOW));
    await failsWith('InvalidReplicaState', store.objects.delete(BLOB, NOW));
    await failsWith('InvalidReplicaState', store.pageBlobs.create(`${SCOPE}/object`, MiB, NOW));
    await failsWith(
      'InvalidReplicaState',
      store.pageBlobs.write(`${SCOPE}/object`, [{ offset: 0, data: Buffer.alloc(512) }], NOW),
    );
    await failsWith('InvalidReplicaState', store.pageBlobs.delete(`${SCOPE}/object`, NOW));
    await failsWith('InvalidReplicaState', store.objects.put(`${SCOPE}/object/inside`, Buffer.from('x'), NOW));
    await failsWith('InvalidReplicaState', store.objects.put(`${SCOPE}/disks`, Buffer.from('x'), NOW));
    expect((await store.objects.get(`${SCOPE}/object`))?.toString()).toBe('kept');
    expect(await store.pageBlobs.size(BLOB)).toBe(MiB);
  });

  test('a creation or deletion that stopped between its steps is completed by the next one', async () => {
    const { folder, store } = await newStore();
    await store.pageBlobs.create(BLOB, MiB, NOW);
    const snapshot = await store.pageBlobs.snapshot(BLOB, NOW);
    await store.pageBlobs.write(BLOB, [{ offset: 0, data: content(MiB, 1) }], NOW);
    // The blob's file is there last and goes first.
    await rm(path.join(folder, BLOB));
    expect(await store.pageBlobs.size(BLOB)).toBeUndefined();
    await failsWith('InvalidReplicaState', readPages(store.pageBlobs, BLOB, 0, 512, snapshot));
    await store.pageBlobs.create(BLOB, 2 * MiB, NOW);
    expect(await store.pageBlobs.listSnapshots(BLOB)).toEqual([]);
    expect((await readPages(store.pageBlobs, BLOB, 0, 2 * MiB)).equals(Buffer.alloc(2 * MiB))).toBe(true);
    await rm(path.join(folder, BLOB));
    await store.pageBlobs.delete(BLOB, NOW);
    const left = await readdir(path.join(folder, SCOPE, 'disks'));
    expect(left.filter((entry) => !entry.startsWith('.'))).toEqual([]);
  });

  test('a blob whose growth was interrupted keeps its old size, as do its snapshots, until the growth is repeated', async () => {
    const { folder, store } = await newStore();
    await store.pageBlobs.create(BLOB, MiB, NOW);
    await store.pageBlobs.write(BLOB, [{ offset: 0, data: content(MiB, 1) }], NOW);
    const snapshot = await store.pageBlobs.snapshot(BLOB, NOW);
    await store.pageBlobs.resize(BLOB, 2 * MiB, NOW);
    // The record was there first; the file had not grown yet.
    await truncate(path.join(folder, BLOB), MiB);
    expect(await store.pageBlobs.size(BLOB)).toBe(MiB);
    await store.pageBlobs.write(BLOB, [{ offset: 0, data: content(MiB, 2) }], NOW);
    expect((await readPages(store.pageBlobs, BLOB, 0, MiB, snapshot)).equals(content(MiB, 1))).toBe(true);
    await failsWith('InvalidReplicaState', store.pageBlobs.snapshot(BLOB, NOW));
    await store.pageBlobs.resize(BLOB, 2 * MiB, NOW);
    expect(await store.pageBlobs.size(BLOB, await store.pageBlobs.snapshot(BLOB, NOW))).toBe(2 * MiB);
    expect((await readPages(store.pageBlobs, BLOB, 0, MiB, snapshot)).equals(content(MiB, 1))).toBe(true);
    expect((await readPages(store.pageBlobs, BLOB, 0, MiB)).equals(content(MiB, 2))).toBe(true);
  });

  test('a truncated blob or journal is reported', async () => {
    const { folder, store } = await newStore();
    await store.pageBlobs.create(BLOB, MiB, NOW);
    const snapshot = await store.pageBlobs.snapshot(BLOB, NOW);
    await store.pageBlobs.write(BLOB, [{ offset: 0, data: content(4096, 1) }], NOW);
    await truncate(path.join(folder, `${BLOB}.undo`, snapshot, 'bits'), 10);
    await failsWith('InvalidReplicaState', readPages(store.pageBlobs, BLOB, 0, 512, snapshot));
    await failsWith('InvalidReplicaState', store.pageBlobs.write(BLOB, [{ offset: 0, data: content(4096, 2) }], NOW));
    await truncate(path.join(folder, BLOB), MiB / 2);
    await failsWith('InvalidReplicaState', store.pageBlobs.snapshot(BLOB, NOW));
  });

  test.each(['newest', 'middle', 'oldest'] as const)(
    'without its undo journal (%s) a snapshot and all older ones are refused, and everything else works',
    async (which) => {
      const { folder, store } = await newStore();
      await store.pageBlobs.create(BLOB, MiB, NOW);
      const ids: string[] = [];
      for (const seed of [1, 2, 3]) {
        await store.pageBlobs.write(BLOB, [{ offset: 0, data: content(MiB / 4, seed) }], NOW);
        ids.push(await store.pageBlobs.snapshot(BLOB, NOW));
      }
      await store.pageBlobs.write(BLOB, [{ offset: 0, data: content(MiB / 4, 4) }], NOW);
      const lost = { oldest: 0, middle: 1, newest: 2 }[which];
      const journal = path.join(folder, `${BLOB}.undo`, ids[lost]!);
      await rename(journal, `${folder}.journal`);
      const expectLost = async (contents: readonly (readonly [string, number])[]) => {
        const other = await EmbeddedReplicaStore.open(folder);
        for (const id of ids.slice(0, lost + 1)) {
          await failsWith('InvalidReplicaState', readPages(other.pageBlobs, BLOB, 0, 4096, id));
          await failsWith(
            'InvalidReplicaState',
            other.pageBlobs.ranges(BLOB, { offset: 0, length: MiB }, { snapshot: id }),
          );
          await failsWith('InvalidReplicaState', other.pageBlobs.size(BLOB, id));
        }
        expect(await other.pageBlobs.listSnapshots(BLOB, { isReadable: true })).toEqual(contents.map(([id]) => id));
        for (const [id, seed] of contents) {
          expect((await readPages(other.pageBlobs, BLOB, 0, MiB / 4, id)).equals(content(MiB / 4, seed))).toBe(true);
        }
        await other.close();
      };
      const kept = ids.map((id, index) => [id, index + 1] as const).slice(lost + 1);
      await expectLost(kept);
      expect((await readPages(store.pageBlobs, BLOB, 0, MiB / 4)).equals(content(MiB / 4, 4))).toBe(true);
      await store.pageBlobs.write(BLOB, [{ offset: 4096, data: content(4096, 5) }], NOW);
      const next = await store.pageBlobs.snapshot(BLOB, NOW);
      const held = await readPages(store.pageBlobs, BLOB, 0, MiB / 4);
      await store.pageBlobs.write(BLOB, [{ offset: 0, data: content(MiB / 4, 6) }], NOW);
      expect((await readPages(store.pageBlobs, BLOB, 0, MiB / 4, next)).equals(held)).toBe(true);
      // What was not kept for it meanwhile it does not have, should it come back.
      await rename(`${folder}.journal`, journal);
      await failsWith('InvalidReplicaState', readPages(store.pageBlobs, BLOB, 0, 4096, ids[lost]));
      // Nobody can use them any more, but they can be deleted as ever.
      for (const id of await store.pageBlobs.listSnapshots(BLOB))
        if (id !== next) await store.pageBlobs.deleteSnapshot(BLOB, id, NOW);
      expect(await readdir(path.join(folder, `${BLOB}.undo`))).toEqual(expect.arrayContaining(['blob.json', next]));
      expect(await readdir(path.join(folder, `${BLOB}.undo`))).toHaveLength(2);
      expect((await readPages(store.pageBlobs, BLOB, 0, MiB / 4, next)).equals(held)).toBe(true);
    },
  );

  test('snapshots of a store from before the list of snapshots are read, and are listed from the next snapshot on', async () => {
    const { folder, store } = await newStore();
    await store.pageBlobs.create(BLOB, MiB, NOW);
    const record = path.join(folder, `${BLOB}.undo`, 'blob.json');
    const take = async (seed: number) => {
      await store.pageBlobs.write(BLOB, [{ offset: 0, data: content(4096, seed) }], NOW);
      return await store.pageBlobs.snapshot(BLOB, NOW);
    };
    const ids = [await take(1), await take(2)];
    const { chain: _, ...before } = JSON.parse(await readFile(record, 'utf8')) as Record<string, unknown>;
    await writeFile(record, JSON.stringify(before));
    await store.pageBlobs.write(BLOB, [{ offset: 0, data: content(4096, 3) }], NOW);
    for (const [index, id] of ids.entries()) {
      expect((await readPages(store.pageBlobs, BLOB, 0, 4096, id)).equals(content(4096, index + 1))).toBe(true);
    }
    ids.push(await take(4));
    await rm(path.join(folder, `${BLOB}.undo`, ids[1]!), { recursive: true });
    await failsWith('InvalidReplicaState', readPages(store.pageBlobs, BLOB, 0, 4096, ids[0]));
    expect((await readPages(store.pageBlobs, BLOB, 0, 4096, ids[2])).equals(content(4096, 4))).toBe(true);
  });

  test.each([
    ['cut short', '{"epoch":'],
    ['of another number', undefined],
    ['empty', ''],
  ])('a copy of the fence that is %s is restored from the other one, which counts', async (_what, text) => {
    const { folder, store } = await newStore();
    const put = (epoch: number) => store.objects.put(`${SCOPE}/x`, Buffer.from('x'), { ...NOW, epoch });
    for (const [index, file] of ['.fence', '.fence-second'].entries()) {
      const epoch = index + 4;
      await store.objects.raiseFence({ ...NOW, epoch });
      const at = path.join(folder, SCOPE, file);
      const whole = await readFile(at, 'utf8');
      await writeFile(at, text ?? whole.replace(`"epoch":${epoch}`, `"epoch":${epoch + 4}`));
      expect(await store.objects.readFence(SCOPE)).toEqual({ epoch, sequence: 0 });
      await put(epoch);
      await failsWith('StaleEpoch', put(epoch - 1));
      // Repeated, as whoever raises it does that may not have heard the answer.
      await store.objects.raiseFence({ ...NOW, epoch });
      expect(await readFile(at, 'utf8')).toBe(whole);
    }
  });

  test('a fence written by an earlier version counts if it is alone or higher than the other copy', async () => {
    const { folder, store } = await newStore();
    await store.objects.put(`${SCOPE}/x`, Buffer.from('x'), NOW);
    await writeFile(path.join(folder, SCOPE, '.fence'), '{"epoch":4,"sequence":2}');
    expect(await store.objects.readFence(SCOPE)).toEqual({ epoch: 4, sequence: 2 });
    await store.objects.raiseFence({ ...NOW, epoch: 5 });
    await writeFile(path.join(folder, SCOPE, '.fence'), '{"epoch":6,"sequence":0}');
    await failsWith('StaleEpoch', store.objects.put(`${SCOPE}/x`, Buffer.from('y'), { ...NOW, epoch: 5 }));
    expect(await store.objects.readFence(SCOPE)).toEqual({ epoch: 6, sequence: 0 });
  });

  test('a fence that can not be read stops all writers', async () => {
    const { folder, store } = await newStore();
    await store.objects.raiseFence({ ...NOW, epoch: 4 });
    for (const file of ['.fence', '.fence-second']) await writeFile(path.join(folder, SCOPE, file), '{"epoch":');
    await failsWith('InvalidReplicaState', store.objects.raiseFence({ ...NOW, epoch: 9 }));
    await failsWith('InvalidReplicaState', store.objects.put(`${SCOPE}/x`, Buffer.from('x'), { ...NOW, epoch: 9 }));
  });
});

describe('space', () => {
  test('a snapshot of a blob of 64 GiB takes almost no space, and later only as much as is overwritten', async () => {
    const { folder, store } = await newStore();
    await store.pageBlobs.create(BLOB, 64 * GiB, NOW);
    await store.pageBlobs.write(BLOB, [{ offset: 40 * GiB, data: content(8 * MiB, 1) }], NOW);
    const snapshot = await store.pageBlobs.snapshot(BLOB, NOW);
    const journal = path.join(folder, `${BLOB}.undo`, snapshot);
    expect((await allocated(path.join(journal, 'before'))) + (await allocated(path.join(journal, 'bits')))).toBe(0);
    await store.pageBlobs.write(BLOB, [{ offset: 40 * GiB + MiB, data: content(MiB, 2) }], NOW);
    await store.pageBlobs.write(BLOB, [{ offset: 10 * GiB, data: content(4 * MiB, 2) }], NOW);
    await store.pageBlobs.write(BLOB, [{ offset: 41 * GiB, clear: 20 * GiB }], NOW);
    const used = (await allocated(path.join(journal, 'before'))) + (await allocated(path.join(journal, 'bits')));
    expect(used).toBeGreaterThanOrEqual(MiB);
    expect(used).toBeLessThan(1.2 * MiB);
    const whole = { offset: 0, length: 64 * GiB };
    expect(await store.pageBlobs.ranges(BLOB, whole, { snapshot })).toEqual([{ offset: 40 * GiB, length: 8 * MiB }]);
    expect((await readPages(store.pageBlobs, BLOB, 40 * GiB, 8 * MiB, snapshot)).equals(content(8 * MiB, 1))).toBe(
      true,
    );
    expect((await readPages(store.pageBlobs, BLOB, 10 * GiB, 4 * MiB, snapshot)).equals(Buffer.alloc(4 * MiB))).toBe(
      true,
    );
    await store.pageBlobs.write(BLOB, [{ offset: 0, clear: 64 * GiB }], NOW);
    expect(await allocated(path.join(folder, BLOB))).toBe(0);
    expect((await readPages(store.pageBlobs, BLOB, 40 * GiB, 8 * MiB, snapshot)).equals(content(8 * MiB, 1))).toBe(
      true,
    );
  });

  test('requests and deletions larger than one lock covers keep every byte', async () => {
    const { folder, store } = await newStore();
    const size = 56 * MiB + 512;
    await store.pageBlobs.create(BLOB, size, NOW);
    const contents = [1, 2, 3].map((seed) => content(size, seed));
    const ids: string[] = [];
    for (const data of contents) {
      await store.pageBlobs.write(BLOB, [{ offset: 0, data }], NOW);
      ids.push(await store.pageBlobs.snapshot(BLOB, NOW));
    }
    await store.pageBlobs.write(BLOB, [{ offset: MiB, clear: 50 * MiB }], NOW);
    // The first snapshot holds all its blocks itself, the second becomes the first's only after the first is gone.
    await store.pageBlobs.deleteSnapshot(BLOB, ids[1]!, NOW);
    expect((await readPages(store.pageBlobs, BLOB, 0, size, ids[0])).equals(contents[0]!)).toBe(true);
    await store.pageBlobs.write(BLOB, [{ offset: 0, data: contents[0]! }], NOW);
    const empty = await store.pageBlobs.snapshot(BLOB, NOW);
    const last = await store.pageBlobs.snapshot(BLOB, NOW);
    await store.pageBlobs.write(BLOB, [{ offset: 0, data: contents[1]! }], NOW);
    // `last` holds everything, `empty` nothing: 56 MiB have to move.
    await store.pageBlobs.deleteSnapshot(BLOB, last, NOW);
    expect((await readPages(store.pageBlobs, BLOB, 0, size, empty)).equals(contents[0]!)).toBe(true);
    expect((await readPages(store.pageBlobs, BLOB, 0, size, ids[2])).equals(contents[2]!)).toBe(true);
    expect((await readPages(store.pageBlobs, BLOB, 0, size)).equals(contents[1]!)).toBe(true);
    expect(await allocated(path.join(folder, `${BLOB}.undo`, empty, 'before'))).toBeGreaterThanOrEqual(56 * MiB);
  });

  test('when none is left: StoreFull, with all existing data unchanged', async (context) => {
    const folder = await smallFileSystem(path.join(await temporaryFolder(), 'small'), 12, context);
    const store = await EmbeddedReplicaStore.open(folder, { create: true });
    await store.pageBlobs.create(BLOB, GiB, NOW);
    await store.pageBlobs.write(BLOB, [{ offset: 0, data: content(4 * MiB, 1) }], NOW);
    await store.objects.put(`${SCOPE}/description.json`, Buffer.from('kept'), NOW);
    const snapshot = await store.pageBlobs.snapshot(BLOB, NOW);

    // The blocks can't be kept, so they must not be overwritten.
    await store.objects.put(`${SCOPE}/ballast`, content(6 * MiB, 1), NOW);
    await failsWith('StoreFull', store.pageBlobs.write(BLOB, [{ offset: 0, data: content(4 * MiB, 2) }], NOW));
    expect((await readPages(store.pageBlobs, BLOB, 0, 4 * MiB)).equals(content(4 * MiB, 1))).toBe(true);
    expect((await readPages(store.pageBlobs, BLOB, 0, 4 * MiB, snapshot)).equals(content(4 * MiB, 1))).toBe(true);

    // An object is replaced as a whole or stays.
    await failsWith('StoreFull', store.objects.put(`${SCOPE}/description.json`, content(8 * MiB, 1), NOW));
    await failsWith('StoreFull', upload(store, `${SCOPE}/os.changes`, 8));
    expect((await store.objects.get(`${SCOPE}/description.json`))?.toString()).toBe('kept');
    expect(await store.objects.list('')).toEqual([`${SCOPE}/ballast`, `${SCOPE}/description.json`]);
    expect(await readdir(path.join(folder, '.tmp'), { recursive: true })).toEqual([workFolder]);
    expect(await readdir(path.join(folder, '.tmp', workFolder))).toEqual([]);

    // New pages: each is as it was or as it was to be; the others are untouched.
    await failsWith('StoreFull', store.pageBlobs.write(BLOB, [{ offset: 100 * MiB, data: content(8 * MiB, 3) }], NOW));
    const found = await readPages(store.pageBlobs, BLOB, 100 * MiB, 8 * MiB);
    for (let offset = 0; offset < found.length; offset += 512) {
      const page = found.subarray(offset, offset + 512);
      expect(page.equals(Buffer.alloc(512)) || page.equals(content(8 * MiB, 3).subarray(offset, offset + 512))).toBe(
        true,
      );
    }
    expect((await readPages(store.pageBlobs, BLOB, 0, 4 * MiB)).equals(content(4 * MiB, 1))).toBe(true);

    // With space again everything can be done that was refused.
    await store.objects.delete(`${SCOPE}/ballast`, NOW);
    await store.pageBlobs.write(BLOB, [{ offset: 100 * MiB, clear: 8 * MiB }], NOW);
    await store.pageBlobs.write(BLOB, [{ offset: 0, data: content(4 * MiB, 2) }], NOW);
    expect((await readPages(store.pageBlobs, BLOB, 0, 4 * MiB)).equals(content(4 * MiB, 2))).toBe(true);
    expect((await readPages(store.pageBlobs, BLOB, 0, 4 * MiB, snapshot)).equals(content(4 * MiB, 1))).toBe(true);
    await store.pageBlobs.deleteSnapshot(BLOB, snapshot, NOW);
    await store.close();
  }, 60_000);

  test('when none is left, a fence can be raised and points can be made and pruned, which frees space', async (context) => {
    const folder = await smallFileSystem(path.join(await temporaryFolder(), 'small'), 64, context);
    const store = await EmbeddedReplicaStore.open(folder, { create: true });
    await store.pageBlobs.create(BLOB, 8 * MiB, NOW);
    await store.pageBlobs.write(BLOB, [{ offset: 0, data: content(8 * MiB, 1) }], NOW);
    const expired = await store.pageBlobs.snapshot(BLOB, NOW);
    await store.pageBlobs.write(BLOB, [{ offset: 0, data: content(8 * MiB, 2) }], NOW);
    await store.pageBlobs.snapshot(BLOB, NOW);
    await store.objects.put(`${SCOPE}/points/expired.json`, content(MiB, 1), NOW);
    // Other people's files, too, may take what there is.
    await leave(folder, 0);
    const next: WriteFence = { ...NOW, sequence: 1 };
    await store.objects.raiseFence(next);
    await failsWith('StoreFull', store.pageBlobs.write(BLOB, [{ offset: 0, data: content(8 * MiB, 3) }], next));
    const point = await store.pageBlobs.snapshot(BLOB, next);
    await store.objects.putIfAbsent(`${SCOPE}/points/kept.json`, Buffer.from(point), next);
    await store.objects.put(`${SCOPE}/state.json`, Buffer.from('FailedOver'), next);
    await failsWith('StoreFull', store.objects.put(`${SCOPE}/large`, content(8 * MiB, 4), next));
    await store.objects.raiseFence({ ...NOW, epoch: 2 });
    const failedOver: WriteFence = { ...NOW, epoch: 2 };
    await store.objects.delete(`${SCOPE}/points/expired.json`, failedOver);
    await store.pageBlobs.deleteSnapshot(BLOB, expired, failedOver);
    await store.pageBlobs.write(BLOB, [{ offset: 0, data: content(6 * MiB, 3) }], failedOver);
    expect((await readPages(store.pageBlobs, BLOB, 0, 8 * MiB, point)).equals(content(8 * MiB, 2))).toBe(true);
    await store.close();
  });

  test('fences are raised even when records have used up all that they may', async (context) => {
    const folder = await smallFileSystem(path.join(await temporaryFolder(), 'small'), 64, context);
    const store = await EmbeddedReplicaStore.open(folder, { create: true });
    await store.objects.raiseFence(NOW);
    await leave(folder, 0);
    const fill = async () => {
      for (let n = 0; ; n += 1) await store.objects.put(`${SCOPE}/${n}`, content(64 * 1024, n), NOW);
    };
    await failsWith('StoreFull', fill());
    expect((await store.objects.list(SCOPE)).length).toBeGreaterThan(2);
    await store.objects.raiseFence({ ...NOW, epoch: 2 });
    expect(await store.objects.readFence(SCOPE)).toEqual({ epoch: 2, sequence: 0 });
    await store.close();
  });

  test('a file system that is unmounted under a store is unreachable, and its mount point stays empty', async (context) => {
    const folder = await smallFileSystem(path.join(await temporaryFolder(), 'small'), 8, context);
    const store = await EmbeddedReplicaStore.open(folder, { create: true });
    await store.objects.put(`${SCOPE}/x`, Buffer.from('x'), NOW);
    await store.pageBlobs.create(BLOB, MiB, NOW);
    await readPages(store.pageBlobs, BLOB, 0, MiB, await store.pageBlobs.snapshot(BLOB, NOW));
    // What is kept open for the next reader is let go of soon, and a store that is idle can be unmounted.
    await expect
      .poll(() => run('umount', [folder]).then(() => 'unmounted', String), { timeout: 30_000 })
      .toBe('unmounted');
    await failsWith('StoreUnreachable', store.objects.put(`${SCOPE}/x`, Buffer.from('x'), NOW));
    await failsWith('StoreUnreachable', store.objects.get(`${SCOPE}/x`));
    await failsWith('StoreUnreachable', EmbeddedReplicaStore.open(folder));
    expect(await readdir(folder)).toEqual([]);
  });
});

describe('a page blob that is a fixed VHD', () => {
  test('equals the raw disk according to qemu-img, and differs if one byte does', async (context) => {
    requireReader('qemu-img', context);
    const { folder, store } = await newStore();
    const size = 24 * MiB;
    await store.pageBlobs.create(BLOB, size + 512, NOW);
    const raw = path.join(folder, '..', 'raw.img');
    const file = await open(raw, 'w');
    await file.truncate(size);
    for (const [offset, seed] of [
      [0, 1],
      [5 * MiB + 512, 2],
      [size - 3 * MiB, 3],
    ] as const) {
      const data = content(3 * MiB, seed);
      await file.write(data, 0, data.length, offset);
      await store.pageBlobs.write(BLOB, [{ offset, data }], NOW);
    }
    await file.write(Buffer.alloc(MiB), 0, MiB, 6 * MiB);
    await file.close();
    await store.pageBlobs.write(
      BLOB,
      [
        { offset: 6 * MiB, clear: MiB },
        { offset: size, data: fixedVhdFooter(size, Buffer.alloc(16, 7)) },
      ],
      NOW,
    );
    const vhd = path.join(folder, BLOB);
    const compare = () => runReader('qemu-img', 'compare', '-f', 'raw', '-F', 'vpc', raw, vhd);
    expect(await compare()).toContain('identical');
    // The journals beside it don't disturb: what is compared is the newest state.
    const snapshot = await store.pageBlobs.snapshot(BLOB, NOW);
    await store.pageBlobs.write(BLOB, [{ offset: 9 * MiB, data: content(512, 9) }], NOW);
    await expect(compare()).rejects.toMatchObject({ code: 1 });
    await store.pageBlobs.write(BLOB, [{ offset: 9 * MiB, clear: 512 }], NOW);
    expect((await readPages(store.pageBlobs, BLOB, 9 * MiB, 512, snapshot)).equals(Buffer.alloc(512))).toBe(true);
    await copyFile(vhd, `${vhd}-copy`);
    expect(await runReader('qemu-img', 'compare', '-f', 'raw', '-F', 'vpc', raw, `${vhd}-copy`)).toContain('identical');
  });

  test('is a disk of its exact size to qemu-img', async (context) => {
    requireReader('qemu-img', context);
    const { folder, store } = await newStore();
    const size = 127 * MiB;
    await store.pageBlobs.create(BLOB, size + 512, NOW);
    await store.pageBlobs.write(BLOB, [{ offset: size, data: fixedVhdFooter(size, Buffer.alloc(16, 7)) }], NOW);
    const info = JSON.parse(
      await runReader('qemu-img', 'info', '-f', 'vpc', '--output', 'json', path.join(folder, BLOB)),
    );
    expect(info).toMatchObject({ 'virtual-size': size, format: 'vpc' });
  });
});

async function upload(store: ReplicaStore, name: string, mebibytes: number): Promise<void> {
  async function* chunks(): AsyncGenerator<Buffer> {
    for (let i = 0; i < mebibytes; i += 1) yield content(MiB, i);
  }
  await store.objects.upload(name, chunks(), NOW);
}
