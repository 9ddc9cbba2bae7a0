import { existsSync } from 'node:fs';
import { truncate } from 'node:fs/promises';
import path from 'node:path';
import { blake3 } from '@napi-rs/blake-hash';
import { describe, expect, test } from 'vitest';
import { vaultPaths } from '../../domain/vault.js';
import { prepareReplica } from '../../replication/replica.js';
import { readManifest, shipCycle } from '../../replication/ship.js';
import type { ReadBackOptions } from '../../ports/objects.js';
import { dieAtEveryCall } from './faulty-store.js';
import { intercept } from './intercepted-store.js';
import { watchedStore } from '../support/watched-store.js';
import { describeReplica, KiB, MiB, Model, sizesOf, VM, write, zero } from './model.js';
import { failsWith } from '../support/fails-with.js';
import { flipByte, openStore, replaceRecord } from './replica-fixture.js';

const FIRST = { epoch: 1, sequence: 1 };
const changesFile = (folder: string, disk: string) => path.join(folder, vaultPaths.changes(VM, 1, 1, disk));

async function begun() {
  const { store, folder } = await openStore();
  const model = new Model({ os: 2 * MiB, data: 1 * MiB, idle: 1 * MiB });
  await prepareReplica(store, describeReplica(sizesOf(model), 1), { epoch: 1, sequence: 0 });
  model.write('os', write(4096, 64 * KiB, 1));
  model.write('os', zero(1 * MiB, 4096));
  model.write('data', write(0, 512, 2));
  return { store, folder, model };
}

describe('shipping a cycle', () => {
  test('the manifest describes the data and the cut', async () => {
    const { store, folder, model } = await begun();
    const { cut, changeSet } = model.seal(1, 1, true);
    const manifest = await shipCycle(store, changeSet, cut, FIRST);
    expect(manifest).toMatchObject({ vm: VM, ...FIRST, sealedAt: cut.sealedAt, final: true });
    expect(manifest.disks).toMatchObject([
      { name: 'os', size: 2 * MiB, token: 'os-1-1', lastWrite: 2, dataBytes: 64 * KiB, ranges: 2 },
      { name: 'data', size: 1 * MiB, lastWrite: 1, dataBytes: 512, ranges: 1 },
      { name: 'idle', lastWrite: 0, length: 0, digest: '', dataBytes: 0, ranges: 0 },
    ]);
    for (const { name, length, digest } of manifest.disks.slice(0, 2)) {
      const file = (await store.objects.get(vaultPaths.changes(VM, 1, 1, name)))!;
      expect(file.length).toBe(length);
      expect(blake3(file).toString('hex')).toBe(digest);
    }
    expect(existsSync(changesFile(folder, 'idle'))).toBe(false);
    expect(await readManifest(store, VM, FIRST)).toEqual(manifest);
  });

  test('nothing is sent to a store without a replica of this epoch: the logs would be deleted', async () => {
    const { store, model } = await begun();
    const { cut, changeSet } = model.seal(2, 1);
    const { store: other } = await openStore();
    for (const wrong of [other, store]) {
      await expect(shipCycle(wrong, changeSet, cut, { epoch: 2, sequence: 1 })).rejects.toMatchObject({
        code: 'ReplicaMissing',
      });
      expect(await wrong.objects.list(vaultPaths.cyclePrefix(VM))).toEqual([]);
    }
    await prepareReplica(store, describeReplica(sizesOf(model), 2), { epoch: 2, sequence: 0 });
    await shipCycle(store, changeSet, cut, { epoch: 2, sequence: 1 });
  });

  test('a cycle without changes is a manifest and nothing else', async () => {
    const { store, model } = await begun();
    model.seal(1, 0);
    const { cut, changeSet } = model.seal(1, 1);
    await shipCycle(store, changeSet, cut, FIRST);
    expect(await store.objects.list(vaultPaths.cyclePrefix(VM))).toEqual([vaultPaths.manifest(VM, 1, 1)]);
  });

  test('repeated, it returns the manifest without reading the logs, which may be gone', async () => {
    const { store, model } = await begun();
    const { cut, changeSet } = model.seal(1, 1);
    const manifest = await shipCycle(store, changeSet, cut, FIRST);
    const gone = {
      close: async () => undefined,
      disks: changeSet.disks.map((disk) => ({ ...disk, read: () => Promise.reject(new Error('the log is gone')) })),
    };
    expect(await shipCycle(store, gone, cut, FIRST)).toEqual(manifest);
  });

  test('another cut under the same number is refused, and changes nothing', async () => {
    const { store, model } = await begun();
    const { cut, changeSet } = model.seal(1, 1);
    const manifest = await shipCycle(store, changeSet, cut, FIRST);
    const before = await store.objects.get(vaultPaths.changes(VM, 1, 1, 'os'));
    model.write('os', write(0, 512, 3));
    const other = model.seal(1, 1);
    await expect(shipCycle(store, other.changeSet, other.cut, FIRST)).rejects.toMatchObject({ code: 'OutOfSequence' });
    expect(await readManifest(store, VM, FIRST)).toEqual(manifest);
    expect((await store.objects.get(vaultPaths.changes(VM, 1, 1, 'os')))!.equals(before!)).toBe(true);
  });

  test('if two ship in parallel, both get the same manifest', async () => {
    const { store, model } = await begun();
    const { cut, changeSet } = model.seal(1, 1);
    const [a, b] = await Promise.all([
      shipCycle(store, changeSet, cut, FIRST),
      shipCycle(store, changeSet, cut, FIRST),
    ]);
    expect(a).toEqual(b);
    for (const { name, length, digest } of a.disks.filter((disk) => disk.length > 0)) {
      const file = (await store.objects.get(vaultPaths.changes(VM, 1, 1, name)))!;
      expect([file.length, blake3(file).toString('hex')]).toEqual([length, digest]);
    }
  });

  test('after dying at any call, it is sent again; a manifest never names missing data', async () => {
    const calls = await dieAtEveryCall(async () => {
      const { store, model } = await begun();
      const { cut, changeSet } = model.seal(1, 1);
      return {
        store,
        work: (faulty) => shipCycle(faulty, changeSet, cut, FIRST),
        check: async () => {
          const manifest = (await readManifest(store, VM, FIRST))!;
          for (const { name, length, digest } of manifest.disks.filter((disk) => disk.length > 0)) {
            const file = (await store.objects.get(vaultPaths.changes(VM, 1, 1, name)))!;
            expect([file.length, blake3(file).toString('hex')]).toEqual([length, digest]);
          }
        },
      };
    });
    expect(calls).toBeGreaterThan(5);
  });

  test.each([
    ['damaged', (file: string) => flipByte(file, 600)],
    ['lost', (file: string) => truncate(file, 700)],
  ])('what arrived %s is found before there is a manifest', async (_name, damage) => {
    const { store, folder, model } = await begun();
    const { cut, changeSet } = model.seal(1, 1);
    const damaging = intercept(store, 'objects.upload', {
      after: async (name) => {
        if (name === vaultPaths.changes(VM, 1, 1, 'os')) await damage(changesFile(folder, 'os'));
      },
    });
    await expect(shipCycle(damaging, changeSet, cut, FIRST)).rejects.toMatchObject({ code: 'UploadDamaged' });
    expect(await readManifest(store, VM, FIRST)).toBeUndefined();
    await shipCycle(store, changeSet, cut, FIRST);
  });

  test('a change set without a disk of the cut, with one more, or of a smaller disk is refused', async () => {
    const { store, model } = await begun();
    const { cut, changeSet } = model.seal(1, 1);
    const ship = (disks: typeof changeSet.disks, of = cut) =>
      shipCycle(store, { disks, close: async () => undefined }, of, FIRST);
    await expect(ship(changeSet.disks.slice(1))).rejects.toMatchObject({ code: 'LogBroken' });
    await expect(ship([...changeSet.disks, { ...changeSet.disks[0]!, name: 'more' }])).rejects.toMatchObject({
      code: 'LogBroken',
    });
    const smaller = { ...cut, disks: cut.disks.map((disk) => ({ ...disk, size: 64 * KiB })) };
    await expect(ship(changeSet.disks, smaller)).rejects.toMatchObject({ code: 'LogBroken' });
    expect(await store.objects.list(vaultPaths.cyclePrefix(VM))).toEqual([]);
  });

  test('a fenced shipper writes no manifest', async () => {
    const { store, model } = await begun();
    const { cut, changeSet } = model.seal(1, 1);
    const fencing = intercept(store, 'objects.upload', {
      after: () => store.objects.raiseFence({ scope: vaultPaths.vm(VM), epoch: 2, sequence: 0 }),
    });
    await expect(shipCycle(fencing, changeSet, cut, FIRST)).rejects.toMatchObject({ code: 'StaleEpoch' });
    expect(await readManifest(store, VM, FIRST)).toBeUndefined();
  });

  test('aborted, it leaves no manifest, and can be run again', async () => {
    const { store, model } = await begun();
    const { cut, changeSet } = model.seal(1, 1);
    const controller = new AbortController();
    const options = { signal: controller.signal, onProgress: () => controller.abort(new Error('stop')) };
    await expect(shipCycle(store, changeSet, cut, FIRST, options)).rejects.toThrow('stop');
    expect(await readManifest(store, VM, FIRST)).toBeUndefined();
    const seen: number[] = [];
    await shipCycle(store, changeSet, cut, FIRST, {
      onProgress: ({ bytesDone, bytesTotal }) => seen.push(bytesDone / bytesTotal),
    });
    expect(seen.at(-1)).toBe(1);
  });
});

test('a change file is read back from storage, not from a cache, before the manifest is written', async () => {
  const { store, model } = await begun();
  const { cut, changeSet } = model.seal(1, 1);
  const remembered: unknown[] = [];
  const seen: string[] = [];
  const watched = watchedStore(store, async (operation, [name, , , options], call) => {
    if (operation === 'objects.readInto' && !(options as ReadBackOptions | undefined)?.isReadBack)
      remembered.push(name);
    if (operation === 'objects.readInto' || operation === 'objects.putIfAbsent') seen.push(String(name));
    return await call();
  });
  await shipCycle(watched, changeSet, cut, FIRST);
  expect(remembered).toEqual([]);
  expect(seen.at(-1)).toBe(vaultPaths.manifest(VM, 1, 1));
  expect(seen.slice(0, -1).toSorted()).toEqual(['data', 'os'].map((disk) => vaultPaths.changes(VM, 1, 1, disk)));
});

test('a manifest without an intact copy is made again from the logs, and is valid then', async () => {
  const { store, model } = await begun();
  const { cut, changeSet } = model.seal(1, 1);
  const manifest = await shipCycle(store, changeSet, cut, FIRST);
  await replaceRecord(store, vaultPaths.manifest(VM, 1, 1), Buffer.from('{'), FIRST);
  await failsWith('LogBroken', readManifest(store, VM, FIRST));
  expect(await shipCycle(store, changeSet, cut, FIRST)).toEqual(manifest);
  expect(await readManifest(store, VM, FIRST)).toEqual(manifest);
});
