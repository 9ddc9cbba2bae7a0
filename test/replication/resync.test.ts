import { describe, expect, test } from 'vitest';
import { recoveryPointId, vaultPaths } from '../../domain/vault.js';
import { applyCycle } from '../../replication/apply.js';
import { createRecoveryPoint, listRecoveryPoints } from '../../replication/recovery-points.js';
import { replicaSizeOf } from '../../replication/replica.js';
import { readApplied, readDescription } from '../../replication/replica-state.js';
import { processReceived } from '../../replication/failover-point.js';
import { beginResync } from '../../replication/resync.js';
import { copySlice } from '../../replication/seed.js';
import { releaseSeed, SLICE_SIZE } from '../../replication/seed-record.js';
import { shipCycle } from '../../replication/ship.js';
import { digestReplica } from '../../replication/target-digests.js';
import { verifySeed } from '../../replication/verify-seed.js';
import type { ReplicaStore } from '../../ports/replica-store.js';
import { dieAtEveryCall } from './faulty-store.js';
import { KiB, MiB, Model, sizesOf, VM, write, zero } from './model.js';
import {
  copiesOf,
  expectReplicaOf,
  flipByte,
  openStore,
  replaceRecord,
  rawDiskOf,
  replicaBytes,
  replicaFile,
  resyncReplica,
  seedReplica,
} from './replica-fixture.js';
import { watchedStore } from '../support/watched-store.js';
import { readDisk } from '../support/replica-disks.js';

const EPOCH = 2;
const SIZE = 3 * MiB + 64 * KiB + 512;

async function ship(store: ReplicaStore, model: Model, epoch: number, sequence: number): Promise<void> {
  const { cut, changeSet } = model.seal(epoch, sequence);
  await shipCycle(store, changeSet, cut, { epoch, sequence });
}

/** A replica of epoch 1 with one cycle and a recovery point, and a source that has gone on since, untracked. */
async function drifted() {
  const { store, folder } = await openStore();
  const model = new Model({ os: SIZE, data: 1 * MiB });
  model.write('os', write(0, 2 * MiB, 1));
  model.write('data', write(300 * KiB, 200 * KiB, 2));
  await seedReplica(store, model);
  await ship(store, model, 1, 1);
  await applyCycle(store, { vm: VM, epoch: 1, sequence: 1 });
  await createRecoveryPoint(store, { vm: VM, epoch: 1, sequence: 1, kind: 'crashConsistent' });
  const before = new Map([...model.disks].map(([name, content]) => [name, Buffer.from(content)]));
  model.write('os', write(70 * KiB, 512, 3));
  model.write('os', zero(1 * MiB, 128 * KiB));
  model.write('os', write(SIZE - 512, 512, 4));
  model.seal(1, 2);
  return { store, folder, model, before };
}

const source = (model: Model) => Object.entries(sizesOf(model)).map(([name, size]) => ({ name, size }));

describe('a resynchronization', () => {
  test('sends exactly the blocks that differ, and the replica is equal afterwards', async () => {
    const { store, folder, model } = await drifted();
    // Two blocks changed and hold data; two became zero and are cleared.
    expect(await resyncReplica(store, model, EPOCH)).toBe(2 * 64 * KiB);
    await expectReplicaOf(folder, model);
  });

  test('continues with cycles of its epoch; earlier recovery points do not change', async () => {
    const { store, folder, model, before } = await drifted();
    await resyncReplica(store, model, EPOCH);
    model.write('os', write(8 * KiB, 4 * KiB, 5));
    await ship(store, model, EPOCH, 1);
    await applyCycle(store, { vm: VM, epoch: EPOCH, sequence: 1 });
    await createRecoveryPoint(store, { vm: VM, epoch: EPOCH, sequence: 1, kind: 'crashConsistent' });
    await releaseSeed(store, { vm: VM, epoch: EPOCH });
    await expectReplicaOf(folder, model);
    const [old, newer] = await listRecoveryPoints(store, VM);
    expect([old!.id, newer!.id]).toEqual([recoveryPointId(1, 1), recoveryPointId(EPOCH, 1)]);
    for (const { name, snapshot } of old!.disks) {
      const content = before.get(name)!;
      const kept = await readDisk(store.disks, { vm: VM, disk: name }, 0, replicaSizeOf(content.length), snapshot);
      expect(kept.subarray(0, content.length).equals(content), name).toBe(true);
    }
    for (const prefix of [vaultPaths.seeds(VM), vaultPaths.allTargetDigests(VM), vaultPaths.verifiedDisks(VM)]) {
      expect(await store.objects.list(prefix)).toEqual([]);
    }
  });

  test('makes the live replica unusable as a recovery point until its first cycle, and shuts out the previous epoch', async () => {
    const { store, model } = await drifted();
    await beginResync(store, { vm: VM, epoch: EPOCH, disks: source(model) });
    expect((await readDescription(store, VM))!.epoch).toBe(EPOCH);
    expect((await readApplied(store, VM))!.epoch).toBe(1);
    await expect(ship(store, model, 1, 3)).rejects.toMatchObject({ code: 'StaleEpoch' });
    await expect(applyCycle(store, { vm: VM, epoch: 1, sequence: 2 })).rejects.toMatchObject({ code: 'StaleEpoch' });
    const point = { vm: VM, epoch: EPOCH, sequence: 0, kind: 'crashConsistent' } as const;
    await expect(createRecoveryPoint(store, point)).rejects.toMatchObject({ code: 'InvalidReplicaState' });
    await ship(store, model, EPOCH, 1);
    await expect(applyCycle(store, { vm: VM, epoch: EPOCH, sequence: 1 })).rejects.toMatchObject({
      code: 'InvalidReplicaState',
    });
  });

  test('refuses a source of another size in an epoch that has begun, and an older epoch; nothing is changed', async () => {
    const { store, model } = await drifted();
    await beginResync(store, { vm: VM, epoch: 5, disks: source(model) });
    const disks = source(model).map(({ name, size }) => ({ name, size: size + 512 }));
    await expect(beginResync(store, { vm: VM, epoch: 5, disks })).rejects.toMatchObject({
      code: 'InvalidReplicaState',
      detail: expect.stringContaining(`${SIZE + 512} bytes`),
    });
    await expect(beginResync(store, { vm: VM, epoch: 4, disks: source(model) })).rejects.toMatchObject({
      code: 'StaleEpoch',
    });
    expect((await readDescription(store, VM))!.epoch).toBe(5);
  });

  test('reads back exactly the blocks that it sent or cleared', async () => {
    const { store, model } = await drifted();
    await beginResync(store, { vm: VM, epoch: EPOCH, disks: source(model) });
    await digestReplica(store, { vm: VM, disk: 'os', epoch: EPOCH });
    const raw = await rawDiskOf(model.disks.get('os')!);
    await copySlice(store, raw, {
      ...{ vm: VM, disk: 'os', fromOffset: 0, maxBytes: Infinity },
      fence: { epoch: EPOCH, sequence: 0 },
    });
    await raw.close();
    const readBack: [number, number][] = [];
    const watched = watchedStore(store, async (operation, [target, offset], call) => {
      if (operation === 'disk.readUncached') readBack.push([Number(offset), (target as Buffer).length]);
      return await call();
    });
    await verifySeed(watched, { vm: VM, disk: 'os', epoch: EPOCH });
    // The cleared ones, too: that the file system calls them holes proves nothing.
    expect(readBack).toEqual([
      [64 * KiB, 64 * KiB],
      [1 * MiB, 128 * KiB],
      [3 * MiB + 64 * KiB, 64 * KiB],
    ]);
  });

  test('if a block differs when it is read back, its whole slice is sent again', async () => {
    const { store, folder, model } = await drifted();
    await beginResync(store, { vm: VM, epoch: EPOCH, disks: source(model) });
    await digestReplica(store, { vm: VM, disk: 'os', epoch: EPOCH });
    const raw = await rawDiskOf(model.disks.get('os')!);
    const task = { vm: VM, disk: 'os', fromOffset: 0, maxBytes: Infinity, fence: { epoch: EPOCH, sequence: 0 } };
    await copySlice(store, raw, task);
    // In a block that was sent: the others are known from before, and nobody could write them since.
    await flipByte(replicaFile(folder, 'os'), 71 * KiB);
    await expect(verifySeed(store, { vm: VM, disk: 'os', epoch: EPOCH })).rejects.toMatchObject({
      code: 'ReplicaDiffers',
      detail: expect.stringContaining(`bytes ${64 * KiB} to ${128 * KiB - 1}`),
    });
    expect((await copySlice(store, raw, task)).dataBytes).toBeGreaterThan(1 * MiB);
    await verifySeed(store, { vm: VM, disk: 'os', epoch: EPOCH });
    await raw.close();
    const os = model.disks.get('os')!;
    expect((await replicaBytes(folder, 'os', SIZE)).equals(os)).toBe(true);
  });

  test('after dying at any call and being run again, the replica is equal', { timeout: 240_000 }, async () => {
    const { model, ...prepared } = await drifted();
    const copy = await copiesOf(prepared);
    const calls = await dieAtEveryCall(async () => {
      const { store, folder } = await copy();
      return {
        store,
        work: (faulty) => resyncReplica(faulty, model, EPOCH),
        check: async () => {
          await expectReplicaOf(folder, model);
          expect(await store.objects.readFence(vaultPaths.vm(VM))).toEqual({ epoch: EPOCH, sequence: 1 });
          await store.close();
        },
      };
    });
    expect(calls).toBeGreaterThan(30);
  });
});

test('digesting and comparing advance in stretches, and comparing never goes beyond the digests', async () => {
  const { store } = await openStore();
  const model = new Model({ os: 2 * SLICE_SIZE + MiB });
  await seedReplica(store, model);
  for (const block of [0, 1, 2]) model.write('os', write(block * SLICE_SIZE, 4 * KiB, block + 1));
  await beginResync(store, { vm: VM, epoch: EPOCH, disks: source(model) });
  const raw = await rawDiskOf(model.disks.get('os')!);
  const copy = { vm: VM, disk: 'os', maxBytes: Infinity, fence: { epoch: EPOCH, sequence: 0 } };
  const digested: number[] = [];
  for (let fromOffset = 0; fromOffset < 2 * SLICE_SIZE + MiB;) {
    const step = await digestReplica(store, { vm: VM, disk: 'os', epoch: EPOCH, fromOffset }, { enough: () => true });
    digested.push(step.nextOffset);
    expect(step.done).toBe(digested.length === 3);
    const copied = await copySlice(store, raw, { ...copy, fromOffset, toOffset: step.nextOffset });
    expect(copied).toMatchObject({ nextOffset: step.nextOffset, dataBytes: 64 * KiB, done: step.done });
    fromOffset = step.nextOffset;
  }
  expect(digested).toEqual([SLICE_SIZE, 2 * SLICE_SIZE, 2 * SLICE_SIZE + MiB]);
  expect(await verifySeed(store, { vm: VM, disk: 'os', epoch: EPOCH })).toEqual({ seedComplete: true });
  await raw.close();
});

test('complete received cycles are applied before a new epoch begins', async () => {
  const { store, folder } = await openStore();
  const model = new Model({ os: 1 * MiB });
  await seedReplica(store, model);
  for (const sequence of [1, 2, 3]) {
    model.write('os', write(sequence * 64 * KiB, 4 * KiB, sequence));
    await ship(store, model, 1, sequence);
  }
  await applyCycle(store, { vm: VM, epoch: 1, sequence: 1 });
  await replaceRecord(store, vaultPaths.manifest(VM, 1, 3), undefined, { epoch: 1, sequence: 3 });
  // The third has no manifest: it has not been received whole.
  expect(await processReceived(store, VM)).toEqual({ cycles: 1 });
  expect(await readApplied(store, VM)).toMatchObject({ epoch: 1, sequence: 2 });
  expect((await listRecoveryPoints(store, VM)).map(({ id }) => id)).toEqual([recoveryPointId(1, 2)]);
  const expected = Buffer.from(model.disks.get('os')!);
  expected.fill(0, 192 * KiB);
  expect((await replicaBytes(folder, 'os', 1 * MiB)).equals(expected)).toBe(true);
});
