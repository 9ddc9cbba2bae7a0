import { truncate, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { describe, expect, test } from 'vitest';
import { cycleManifestSchema, vaultPaths, type CycleManifest } from '../../domain/vault.js';
import { applyCycle } from '../../replication/apply.js';
import { pruneCycles } from '../../replication/cycles.js';
import { readApplied } from '../../replication/replica-state.js';
import { prepareReplica } from '../../replication/replica.js';
import { releaseSeed } from '../../replication/seed-record.js';
import { readManifest, shipCycle } from '../../replication/ship.js';
import { encodeRecord } from '../../replication/vault-record.js';
import type { ReplicaStore } from '../../ports/replica-store.js';
import { requireReader, runReader } from '../support/readers.js';
import { dieAtEveryCall } from './faulty-store.js';
import { intercept } from './intercepted-store.js';
import { describeReplica, KiB, MiB, Model, sizesOf, VM, write, zero } from './model.js';
import {
  copiesOf,
  flipByte,
  openStore,
  replaceRecord,
  replicaBytes,
  replicaFile,
  seedReplica,
} from './replica-fixture.js';

const cycle = (sequence: number, epoch = 1) => ({ vm: VM, epoch, sequence });

async function seeded() {
  const { store, folder } = await openStore();
  const model = new Model({ os: 2 * MiB + 512, data: 1 * MiB });
  model.write('os', write(0, 256 * KiB, 1));
  model.write('data', write(512 * KiB, 128 * KiB, 2));
  await seedReplica(store, model);
  return { store, folder, model, base: contents(model) };
}

const contents = (model: Model) => new Map([...model.disks].map(([name, content]) => [name, Buffer.from(content)]));

async function expectReplica(folder: string, wanted: ReadonlyMap<string, Buffer>): Promise<void> {
  for (const [disk, content] of wanted) {
    expect((await replicaBytes(folder, disk, content.length)).equals(content), disk).toBe(true);
  }
}

async function ship(store: ReplicaStore, model: Model, sequence: number, epoch = 1): Promise<CycleManifest> {
  const { cut, changeSet } = model.seal(epoch, sequence);
  return await shipCycle(store, changeSet, cut, { epoch, sequence });
}

/** Writes of every kind: over data, into holes, zeroes over data, the last sector. */
function change(model: Model, seed: number): void {
  model.write('os', write(100 * KiB, 64 * KiB, seed));
  model.write('os', write(2 * MiB, 512, seed + 1));
  model.write('os', zero(0, 4 * KiB));
  model.write('os', write(1 * MiB + seed * 512, 512, seed + 2));
  model.write('data', zero(512 * KiB, 64 * KiB));
  model.write('data', write(seed * 4096, 4096, seed + 3));
}

const fixedManifest = async (store: ReplicaStore, edit: (manifest: CycleManifest) => void): Promise<void> => {
  const manifest = (await readManifest(store, VM, { epoch: 1, sequence: 1 }))!;
  edit(manifest);
  await spoilManifest(store, encodeRecord(cycleManifestSchema, manifest));
};

const spoilManifest = (store: ReplicaStore, data: Buffer | undefined): Promise<void> =>
  replaceRecord(store, vaultPaths.manifest(VM, 1, 1), data, { epoch: 1, sequence: 1 });

describe('applying cycles', () => {
  test('the replica follows the source, cycle by cycle, and reports its progress', async (context) => {
    requireReader('qemu-img', context);
    const { store, folder, model } = await seeded();
    for (const sequence of [1, 2, 3]) {
      change(model, sequence);
      const manifest = await ship(store, model, sequence);
      const seen: number[] = [];
      const applied = await applyCycle(store, cycle(sequence), {
        onProgress: ({ bytesDone }) => seen.push(bytesDone),
      });
      expect(applied).toMatchObject({ epoch: 1, sequence, sealedAt: manifest.sealedAt, final: false });
      expect(applied.disks).toEqual(manifest.disks.map(({ name, lastWrite }) => ({ name, lastWrite })));
      expect(seen.length).toBeGreaterThan(0);
      await expectReplica(folder, model.disks);
      expect(await readApplied(store, VM)).toEqual(applied);
      expect(await store.objects.readFence(vaultPaths.vm(VM))).toEqual({ epoch: 1, sequence });
      // Again: nothing.
      expect(await applyCycle(store, cycle(sequence))).toEqual(applied);
    }
    for (const [disk, content] of model.disks) {
      const raw = path.join(folder, '..', `${disk}.raw`);
      await writeFile(raw, content);
      const output = await runReader('qemu-img', 'compare', '-f', 'raw', '-F', 'vpc', raw, replicaFile(folder, disk));
      expect(output).toContain('identical');
    }
  });

  test('an empty cycle advances the time', async () => {
    const { store, folder, model, base } = await seeded();
    const manifest = await ship(store, model, 1);
    expect(await applyCycle(store, cycle(1))).toMatchObject({ sequence: 1, sealedAt: manifest.sealedAt });
    await expectReplica(folder, base);
  });

  test('after dying at any call and being applied again, it gives the same bytes', async () => {
    const { model, ...prepared } = await seeded();
    change(model, 5);
    await ship(prepared.store, model, 1);
    const copy = await copiesOf(prepared);
    const calls = await dieAtEveryCall(async () => {
      const { store, folder } = await copy();
      return {
        store,
        work: (faulty) => applyCycle(faulty, cycle(1)),
        check: async () => {
          await expectReplica(folder, model.disks);
          expect((await readApplied(store, VM))?.sequence).toBe(1);
        },
      };
    });
    expect(calls).toBeGreaterThan(12);
  });

  test('aborted between batches, it can be run again', async () => {
    const { store, folder, model } = await seeded();
    change(model, 1);
    await ship(store, model, 1);
    const controller = new AbortController();
    const options = { signal: controller.signal, onProgress: () => controller.abort(new Error('stop')) };
    await expect(applyCycle(store, cycle(1), options)).rejects.toThrow('stop');
    await applyCycle(store, cycle(1));
    await expectReplica(folder, model.disks);
  });

  test.each([
    ['the next but one', async () => undefined, cycle(2), 'OutOfSequence'],
    ['an impossible one', async () => undefined, cycle(0), 'OutOfSequence'],
    ['one of an older epoch', async () => undefined, cycle(1, 0), 'StaleEpoch'],
    ['one of an epoch that has not begun', async () => undefined, cycle(1, 2), 'ReplicaMissing'],
    ['one whose manifest is missing', (store: ReplicaStore) => removeManifest(store), cycle(1), 'LogBroken'],
    [
      'one of another VM',
      (store: ReplicaStore) => fixedManifest(store, (it) => (it.vm = 'db-02')),
      cycle(1),
      'InvalidReplicaState',
    ],
    [
      'one of another epoch',
      (store: ReplicaStore) => fixedManifest(store, (it) => (it.epoch = 2)),
      cycle(1),
      'InvalidReplicaState',
    ],
    [
      'one without a disk',
      (store: ReplicaStore) => fixedManifest(store, (it) => it.disks.pop()),
      cycle(1),
      'InvalidReplicaState',
    ],
    [
      'one of a resized disk',
      (store: ReplicaStore) => fixedManifest(store, (it) => (it.disks[0]!.size += 512)),
      cycle(1),
      'InvalidReplicaState',
    ],
    [
      'one with a disk renamed',
      (store: ReplicaStore) => fixedManifest(store, (it) => (it.disks[0]!.name = 'boot')),
      cycle(1),
      'InvalidReplicaState',
    ],
    [
      'one with the change files of two disks exchanged',
      (store: ReplicaStore) => exchangeFiles(store),
      cycle(1),
      'LogBroken',
    ],
    ['one that is no JSON', (store: ReplicaStore) => spoilManifest(store, Buffer.from('{')), cycle(1), 'LogBroken'],
  ])('refuses %s, with nothing applied', async (_name, spoil, task, code) => {
    const { store, folder, model, base } = await seeded();
    change(model, 1);
    await ship(store, model, 1);
    await spoil(store);
    await expect(applyCycle(store, task)).rejects.toMatchObject({ code });
    await expectReplica(folder, base);
    expect(await readApplied(store, VM)).toBeUndefined();
    expect(await store.objects.readFence(vaultPaths.vm(VM))).toEqual({ epoch: 1, sequence: 1 });
  });

  test('refuses a cycle older than the last applied one, and one whose write numbers decrease', async () => {
    const { store, folder, model } = await seeded();
    for (const sequence of [1, 2]) {
      change(model, sequence);
      await ship(store, model, sequence);
      await applyCycle(store, cycle(sequence));
    }
    await expect(applyCycle(store, cycle(1))).rejects.toMatchObject({ code: 'OutOfSequence' });
    const now = contents(model);
    model.writes.set('os', 1);
    await ship(store, model, 3);
    await expect(applyCycle(store, cycle(3))).rejects.toMatchObject({ code: 'OutOfSequence' });
    await expectReplica(folder, now);
  });

  test.each(['os', 'data'])(
    'one flipped byte anywhere in the change file of %s stops the whole cycle',
    async (disk) => {
      const { store, folder, model, base } = await seeded();
      change(model, 1);
      const manifest = await ship(store, model, 1);
      const file = path.join(folder, vaultPaths.changes(VM, 1, 1, disk));
      const { length } = manifest.disks.find(({ name }) => name === disk)!;
      for (const offset of [0, 60, 511, 512, 3000, length - 20, length - 1]) {
        await flipByte(file, offset);
        await expect(applyCycle(store, cycle(1))).rejects.toMatchObject({ code: 'LogBroken' });
        await flipByte(file, offset);
      }
      await expectReplica(folder, base);
      await applyCycle(store, cycle(1));
      await expectReplica(folder, model.disks);
    },
  );

  test('a truncated or missing change file stops the cycle', async () => {
    const { store, folder, model, base } = await seeded();
    change(model, 1);
    await ship(store, model, 1);
    await truncate(path.join(folder, vaultPaths.changes(VM, 1, 1, 'data')), 4000);
    await expect(applyCycle(store, cycle(1))).rejects.toMatchObject({ code: 'LogBroken' });
    await store.objects.delete(vaultPaths.changes(VM, 1, 1, 'data'), {
      scope: vaultPaths.vm(VM),
      epoch: 1,
      sequence: 1,
    });
    await expect(applyCycle(store, cycle(1))).rejects.toMatchObject({ code: 'LogBroken' });
    await expectReplica(folder, base);
  });

  test('content that is damaged after it was verified is not written', async () => {
    const { store, folder, model } = await seeded();
    change(model, 1);
    await ship(store, model, 1);
    const damaging = intercept(store, 'objects.raiseFence', {
      before: () => flipByte(path.join(folder, vaultPaths.changes(VM, 1, 1, 'os')), 700),
    });
    await expect(applyCycle(damaging, cycle(1))).rejects.toMatchObject({ code: 'LogBroken' });
    expect(await readApplied(store, VM)).toBeUndefined();
  });

  test('no cycle is applied to an initial copy that has not been verified', async () => {
    const { store } = await openStore();
    const model = new Model({ os: 1 * MiB });
    await prepareReplica(store, describeReplica(sizesOf(model), 1), { epoch: 1, sequence: 0 });
    await ship(store, model, 1);
    await expect(applyCycle(store, cycle(1))).rejects.toMatchObject({ code: 'InvalidReplicaState' });
  });

  test('a fence that is raised meanwhile stops it', async () => {
    const { store, model } = await seeded();
    change(model, 1);
    await ship(store, model, 1);
    const fencing = intercept(store, 'disk.write', {
      before: () => store.objects.raiseFence({ scope: vaultPaths.vm(VM), epoch: 2, sequence: 0 }),
    });
    await expect(applyCycle(fencing, cycle(1))).rejects.toMatchObject({ code: 'StaleEpoch' });
    expect(await readApplied(store, VM)).toBeUndefined();
  });

  test('after a release of the initial copy, its records and old cycles are deleted, and unapplied cycles stay', async () => {
    const { store, folder, model } = await seeded();
    for (const sequence of [1, 2, 3, 4]) {
      change(model, sequence);
      await ship(store, model, sequence);
      if (sequence < 4) await applyCycle(store, cycle(sequence));
    }
    await releaseSeed(store, { vm: VM, epoch: 1 });
    await releaseSeed(store, { vm: VM, epoch: 1 });
    expect(await store.objects.list(vaultPaths.seeds(VM))).toEqual([]);
    expect(await store.objects.list(vaultPaths.verifiedDisks(VM))).toEqual([]);
    expect(await pruneCycles(store, { vm: VM, epoch: 1 })).toBe(1);
    expect(await pruneCycles(store, { vm: VM, epoch: 1 })).toBe(0);
    const left = (await store.objects.list(vaultPaths.cyclePrefix(VM))).filter((name) =>
      name.endsWith('manifest.json'),
    );
    expect(left).toEqual([2, 3, 4].map((sequence) => vaultPaths.manifest(VM, 1, sequence)));
    await applyCycle(store, cycle(4));
    await expectReplica(folder, model.disks);
    await expect(pruneCycles(store, { vm: VM, epoch: 0 })).rejects.toMatchObject({ code: 'StaleEpoch' });
  });
});

const removeManifest = (store: ReplicaStore) => spoilManifest(store, undefined);

/** Each file intact, and the manifest true of it, but of the wrong disk. */
async function exchangeFiles(store: ReplicaStore): Promise<void> {
  const fence = { scope: vaultPaths.vm(VM), epoch: 1, sequence: 1 };
  const names = ['os', 'data'].map((disk) => vaultPaths.changes(VM, 1, 1, disk)) as [string, string];
  const [os, data] = [(await store.objects.get(names[0]))!, (await store.objects.get(names[1]))!];
  await store.objects.put(names[0], data, fence);
  await store.objects.put(names[1], os, fence);
  await fixedManifest(store, ({ disks }) => {
    const [a, b] = disks as [CycleManifest['disks'][number], CycleManifest['disks'][number]];
    [a.length, b.length] = [b.length, a.length];
    [a.digest, b.digest] = [b.digest, a.digest];
  });
}
