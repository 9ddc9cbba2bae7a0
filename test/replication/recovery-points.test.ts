import { describe, expect, test } from 'vitest';
import { chooseRecoveryPoint } from '../../domain/recovery-point.js';
import { recoveryPointId, vaultPaths } from '../../domain/vault.js';
import { applyCycle } from '../../replication/apply.js';
import { failoverPoint } from '../../replication/failover-point.js';
import {
  createRecoveryPoint,
  deleteRecoveryPoints,
  listRecoveryPoints,
  markSuspect,
  pruneRecoveryPoints,
} from '../../replication/recovery-points.js';
import { readRecoveryState } from '../../replication/recovery-target.js';
import { writeDescription } from '../../replication/replica-state.js';
import { readManifest, shipCycle } from '../../replication/ship.js';
import type { ReplicaStore } from '../../ports/replica-store.js';
import { dieAtEveryCall } from './faulty-store.js';
import { intercept } from './intercepted-store.js';
import { describeReplica, KiB, MiB, Model, sizesOf, VM, write } from './model.js';
import { copiesOf, openStore, seedReplica } from './replica-fixture.js';
import { readDisk } from '../support/replica-disks.js';

const task = (sequence: number) => ({ vm: VM, epoch: 1, sequence, kind: 'crashConsistent' as const });
const id = (sequence: number) => recoveryPointId(1, sequence);
const snapshots = (store: ReplicaStore, disk: string) => store.disks.listSnapshots({ vm: VM, disk });

async function seeded() {
  const { store, folder } = await openStore();
  const model = new Model({ os: 1 * MiB, data: 1 * MiB });
  model.write('os', write(0, 256 * KiB, 1));
  await seedReplica(store, model);
  return { store, folder, model };
}

/** Applies the next cycle. @returns the disks as they are at it. */
async function next(store: ReplicaStore, model: Model, sequence: number): Promise<Map<string, Buffer>> {
  model.write('os', write(sequence * 4 * KiB, 8 * KiB, sequence));
  model.write('data', write(0, 4 * KiB, sequence + 100));
  const { cut, changeSet } = model.seal(1, sequence);
  await shipCycle(store, changeSet, cut, { epoch: 1, sequence });
  await applyCycle(store, { vm: VM, epoch: 1, sequence });
  return new Map([...model.disks].map(([name, content]) => [name, Buffer.from(content)]));
}

async function expectPoint(store: ReplicaStore, pointId: string, wanted: ReadonlyMap<string, Buffer>): Promise<void> {
  const point = (await listRecoveryPoints(store, VM)).find((one) => one.id === pointId)!;
  expect(point.disks.map(({ name }) => name).sort()).toEqual([...wanted.keys()].sort());
  for (const { name, snapshot } of point.disks) {
    const content = wanted.get(name)!;
    const found = await readDisk(store.disks, { vm: VM, disk: name }, 0, content.length, snapshot);
    expect(found.equals(content), `${pointId} ${name}`).toBe(true);
  }
}

describe('recovery points', () => {
  test('each holds all disks at its cycle, whatever follows; they are listed oldest first', async () => {
    const { store, model } = await seeded();
    const states = new Map<string, Map<string, Buffer>>();
    for (const sequence of [1, 2, 3]) {
      states.set(id(sequence), await next(store, model, sequence));
      const point = await createRecoveryPoint(store, task(sequence));
      expect(point).toMatchObject({ id: id(sequence), vm: VM, epoch: 1, sequence, kind: 'crashConsistent' });
      expect(point.time).toBe(new Date(Date.UTC(2026, 0, 1, 1, 5 * sequence)).toISOString());
    }
    expect((await listRecoveryPoints(store, VM)).map((point) => point.id)).toEqual([1, 2, 3].map(id));
    for (const [pointId, state] of states) await expectPoint(store, pointId, state);
  });

  test('kind and names of a cycle become those of its point', async () => {
    const { store, model } = await seeded();
    await next(store, model, 1);
    const point = await createRecoveryPoint(store, { ...task(1), kind: 'appConsistent', tags: ['before-upgrade'] });
    expect(point).toMatchObject({ kind: 'appConsistent', tags: ['before-upgrade'] });
    expect(await listRecoveryPoints(store, VM)).toEqual([point]);
  });

  test('the recovery state consists of the replica, the cycles received after it, and the points', async () => {
    const { store, model } = await seeded();
    expect(await readRecoveryState(store, 'unknown')).toBeUndefined();
    await next(store, model, 1);
    const point = await createRecoveryPoint(store, task(1));
    for (const sequence of [2, 3]) {
      model.write('os', write(0, 4 * KiB, sequence));
      const { cut, changeSet } = model.seal(1, sequence);
      await shipCycle(store, changeSet, cut, { epoch: 1, sequence }, { tags: [`cycle-${sequence}`] });
    }
    expect((await readManifest(store, VM, { epoch: 1, sequence: 3 }))?.tags).toEqual(['cycle-3']);
    const state = (await readRecoveryState(store, VM))!;
    expect(state).toMatchObject({ vm: VM, epoch: 1, applied: { epoch: 1, sequence: 1 }, points: [point] });
    expect(state.received.map(({ sequence }) => sequence)).toEqual([2, 3]);
    expect(chooseRecoveryPoint({ kind: 'latest' }, state)).toMatchObject({ cycle: { sequence: 3 } });
    // As while a resynchronization is under way: what is applied is of an older epoch.
    const fence = { scope: vaultPaths.vm(VM), epoch: 2, sequence: 0 };
    await store.objects.raiseFence(fence);
    await writeDescription(store, describeReplica(sizesOf(model), 2), fence);
    const resynchronizing = (await readRecoveryState(store, VM))!;
    expect(resynchronizing.received).toEqual([]);
    expect(chooseRecoveryPoint({ kind: 'latest' }, resynchronizing)).toEqual({ from: 'point', point });
  });

  test('making it twice gives the same point, even after the next cycle', async () => {
    const { store, model } = await seeded();
    await next(store, model, 1);
    const point = await createRecoveryPoint(store, task(1));
    expect(await createRecoveryPoint(store, task(1))).toEqual(point);
    await next(store, model, 2);
    expect(await createRecoveryPoint(store, task(1))).toEqual(point);
    expect(await snapshots(store, 'os')).toHaveLength(1);
  });

  test('after dying at any call, there is one point and no leftover snapshot', async () => {
    const calls = await dieAtEveryCall(async () => {
      const { store, model } = await seeded();
      const state = await next(store, model, 1);
      return {
        store,
        work: (faulty) => createRecoveryPoint(faulty, task(1)),
        check: async () => {
          await expectPoint(store, id(1), state);
          // What an attempt left that died after its manifest goes with the next point.
          await next(store, model, 2);
          await createRecoveryPoint(store, task(2));
          await expectPoint(store, id(1), state);
          for (const disk of ['os', 'data']) expect(await snapshots(store, disk)).toHaveLength(2);
        },
      };
    });
    expect(calls).toBeGreaterThan(6);
  });

  test('two parallel attempts get the same point, and its snapshots stay', async () => {
    const { store, model } = await seeded();
    const state = await next(store, model, 1);
    const [a, b] = await Promise.all([createRecoveryPoint(store, task(1)), createRecoveryPoint(store, task(1))]);
    expect(a).toEqual(b);
    await expectPoint(store, id(1), state);
  });

  test('is refused if the replica is not exactly at the cycle', async () => {
    const { store, model } = await seeded();
    await expect(createRecoveryPoint(store, task(1))).rejects.toMatchObject({ code: 'InvalidReplicaState' });
    await next(store, model, 1);
    await expect(createRecoveryPoint(store, task(2))).rejects.toMatchObject({ code: 'InvalidReplicaState' });
    // The next cycle has begun to be written.
    await store.objects.raiseFence({ scope: vaultPaths.vm(VM), epoch: 1, sequence: 2 });
    await expect(createRecoveryPoint(store, task(1))).rejects.toMatchObject({ code: 'InvalidReplicaState' });
    expect(await listRecoveryPoints(store, VM)).toEqual([]);
    expect(await snapshots(store, 'os')).toEqual([]);
  });

  test('a cycle that begins while a point is made makes it fail, never wrong', async () => {
    const { store, model } = await seeded();
    await next(store, model, 1);
    const racing = intercept(store, 'disks.snapshot', {
      after: () => store.objects.raiseFence({ scope: vaultPaths.vm(VM), epoch: 1, sequence: 2 }),
    });
    await expect(createRecoveryPoint(racing, task(1))).rejects.toMatchObject({ code: 'StaleEpoch' });
    expect(await listRecoveryPoints(store, VM)).toEqual([]);
  });

  test('old ones are pruned, except the newest and those in use', async () => {
    const { store, model } = await seeded();
    const states = new Map<number, Map<string, Buffer>>();
    for (const sequence of [1, 2, 3, 4, 5]) {
      states.set(sequence, await next(store, model, sequence));
      await createRecoveryPoint(store, task(sequence));
    }
    const prune = async (olderThan: number, keep: string[]) => {
      const { gone, kept } = await pruneRecoveryPoints(store, {
        vm: VM,
        epoch: 1,
        retainedFrom: Date.UTC(2026, 0, 1, 1, 5 * olderThan),
        keep,
      });
      expect(kept).toEqual(await listRecoveryPoints(store, VM));
      return gone;
    };
    expect(await prune(4, [id(2)])).toEqual([id(1), id(3)]);
    expect(await prune(4, [id(2)])).toEqual([]);
    expect((await listRecoveryPoints(store, VM)).map((point) => point.id)).toEqual([2, 4, 5].map(id));
    expect(await prune(99, [id(2)])).toEqual([id(4)]);
    for (const sequence of [2, 5]) await expectPoint(store, id(sequence), states.get(sequence)!);
    for (const disk of ['os', 'data']) expect(await snapshots(store, disk)).toHaveLength(2);
  });

  test('after dying during pruning, no point is left without its snapshots', async () => {
    const { model, ...prepared } = await seeded();
    const states = new Map<string, Map<string, Buffer>>();
    for (const sequence of [1, 2, 3]) {
      states.set(id(sequence), await next(prepared.store, model, sequence));
      await createRecoveryPoint(prepared.store, task(sequence));
    }
    const retainedFrom = Date.UTC(2026, 0, 1, 1, 15);
    const copy = await copiesOf(prepared);
    await dieAtEveryCall(async () => {
      const { store } = await copy();
      return {
        store,
        work: async (faulty) => {
          try {
            await pruneRecoveryPoints(faulty, { vm: VM, epoch: 1, retainedFrom });
          } finally {
            for (const point of await listRecoveryPoints(store, VM))
              await expectPoint(store, point.id, states.get(point.id)!);
          }
        },
        check: async () => {
          expect((await listRecoveryPoints(store, VM)).map((point) => point.id)).toEqual([id(3)]);
          for (const disk of ['os', 'data']) expect(await snapshots(store, disk)).toHaveLength(1);
        },
      };
    });
  });

  test('snapshots of a point that is being made survive a prune', async () => {
    const { store, model } = await seeded();
    for (const sequence of [1, 2]) {
      await next(store, model, sequence);
      await createRecoveryPoint(store, task(sequence));
    }
    const state = await next(store, model, 3);
    const retainedFrom = Date.UTC(2027, 0, 1);
    const pruned = intercept(store, 'objects.putIfAbsent', {
      before: () => pruneRecoveryPoints(store, { vm: VM, epoch: 1, retainedFrom }),
    });
    await createRecoveryPoint(pruned, task(3));
    await expectPoint(store, id(3), state);
    expect((await listRecoveryPoints(store, VM)).map((point) => point.id)).toEqual([2, 3].map(id));
  });

  test('marking them suspect restores none that is pruned meanwhile, and marks those that stay', async () => {
    const { store, model } = await seeded();
    for (const sequence of [1, 2, 3]) {
      await next(store, model, sequence);
      await createRecoveryPoint(store, task(sequence));
    }
    const retainedFrom = Date.UTC(2027, 0, 1);
    const pruned = intercept(store, 'objects.get', {
      after: async (name) => {
        if (name === vaultPaths.point(VM, id(3))) await pruneRecoveryPoints(store, { vm: VM, epoch: 1, retainedFrom });
      },
    });
    await markSuspect(pruned, { vm: VM, epoch: 1, reason: 'a bit' });
    await markSuspect(store, { vm: VM, epoch: 1, reason: 'another bit' });
    const seen = () => listRecoveryPoints(store, VM).then((all) => all.map((point) => [point.id, point.suspect]));
    expect(await seen()).toEqual([[id(3), 'a bit']]);
    // What the epoch still gets shares the damage, as far as is known by then.
    await next(store, model, 4);
    expect(await readRecoveryState(store, VM)).toMatchObject({ applied: { sequence: 4 }, suspect: 'another bit' });
    await createRecoveryPoint(store, task(4));
    expect(await seen()).toEqual([
      [id(3), 'a bit'],
      [id(4), 'another bit'],
    ]);
    // Whoever asks for the point of the newest state gets one that is there already.
    expect(await createRecoveryPoint(store, task(3))).toMatchObject({ id: id(3), suspect: 'a bit' });
    expect(await failoverPoint(store, VM, 'latest-processed')).toMatchObject({ id: id(4), suspect: 'another bit' });
  });

  test('deleting all keeps the given ones, whichever epoch has taken over', async () => {
    const { store, model } = await seeded();
    const states = new Map<number, Map<string, Buffer>>();
    for (const sequence of [1, 2]) {
      states.set(sequence, await next(store, model, sequence));
      await createRecoveryPoint(store, task(sequence));
    }
    await store.disks.snapshot({ vm: VM, disk: 'os' }, { epoch: 1, sequence: 2 });
    await store.objects.raiseFence({ scope: vaultPaths.vm(VM), epoch: 2, sequence: 0 });
    await expect(deleteRecoveryPoints(store, { vm: VM, epoch: 1 })).rejects.toMatchObject({ code: 'StaleEpoch' });
    expect(await deleteRecoveryPoints(store, { vm: VM, epoch: 2, keep: [id(1)] })).toEqual([id(2)]);
    await expectPoint(store, id(1), states.get(1)!);
    expect(await snapshots(store, 'os')).toHaveLength(1);
    expect(await deleteRecoveryPoints(store, { vm: VM, epoch: 2 })).toEqual([id(1)]);
    expect(await deleteRecoveryPoints(store, { vm: VM, epoch: 2 })).toEqual([]);
    for (const disk of ['os', 'data']) expect(await snapshots(store, disk)).toEqual([]);
  });
});
