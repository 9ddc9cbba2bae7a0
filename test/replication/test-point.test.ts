/** The recovery point of a test failover: which one it is, and that it stays while a test VM runs from it. */
import { describe, expect, test } from 'vitest';
import { LAST_SEQUENCE } from '../../domain/fence.js';
import { recoveryPointId, vaultPaths } from '../../domain/vault.js';
import { policySchema } from '../../domain/policy.js';
import { applyCycle } from '../../replication/apply.js';
import { pruneCycles } from '../../replication/cycles.js';
import {
  createRecoveryPoint,
  deleteRecoveryPoints,
  listRecoveryPoints,
  markSuspect,
  pruneRecoveryPoints,
} from '../../replication/recovery-points.js';
import { keepPolicy, writeVaultState } from '../../replication/replica-state.js';
import { shipCycle } from '../../replication/ship.js';
import { readTestHold } from '../../replication/test-hold.js';
import { findTestPoint, heldTestPoint, holdTestPoint, releaseTestPoint } from '../../replication/test-point.js';
import type { ReplicaStore } from '../../ports/replica-store.js';
import { readDisk } from '../support/replica-disks.js';
import { intercept } from './intercepted-store.js';
import { KiB, MiB, Model, VM, write } from './model.js';
import { openStore, seedReplica } from './replica-fixture.js';

const id = (sequence: number) => recoveryPointId(1, sequence);
const of = { vm: VM, epoch: 1 };
const pointIds = async (store: ReplicaStore) => (await listRecoveryPoints(store, VM)).map((point) => point.id);
const snapshots = (store: ReplicaStore) => store.disks.listSnapshots({ vm: VM, disk: 'os' });
const hold = (store: ReplicaStore, wanted: string, jobId = 'job-1') =>
  holdTestPoint(store, { vm: VM, wanted, testVm: `${VM}-test`, jobId, since: new Date().toISOString() });

/** A replica with a recovery point of each cycle. */
async function withPoints(count: number, kinds: Readonly<Record<number, 'appConsistent'>> = {}) {
  const { store } = await openStore();
  const model = new Model({ os: 1 * MiB });
  await seedReplica(store, model);
  const contents = new Map<number, Buffer>();
  const next = async (sequence: number) => {
    model.write('os', write(0, 512 * KiB, sequence));
    const { cut, changeSet } = model.seal(1, sequence);
    await shipCycle(store, changeSet, cut, { epoch: 1, sequence });
    await applyCycle(store, { ...of, sequence });
    const kind = kinds[sequence] ?? 'crashConsistent';
    await createRecoveryPoint(store, { ...of, sequence, kind, ...(sequence === 1 && { tags: ['first'] }) });
    contents.set(sequence, Buffer.from(model.disks.get('os')!));
  };
  for (let sequence = 1; sequence <= count; sequence += 1) await next(sequence);
  const pruneAll = async () => {
    await pruneRecoveryPoints(store, { ...of, retainedFrom: Infinity });
    await pruneCycles(store, of);
  };
  const contentAt = (snapshot: string) => readDisk(store.disks, { vm: VM, disk: 'os' }, 0, MiB, snapshot);
  return { store, contents, next, pruneAll, contentAt };
}

describe('which point', () => {
  test('the newest, the newest app-consistent one, and one by its id or name', async () => {
    const { store } = await withPoints(3, { 2: 'appConsistent' });
    const found = async (wanted: string) => (await findTestPoint(store, VM, wanted)).id;
    expect(await found('latest')).toBe(id(3));
    expect(await found('latest-app-consistent')).toBe(id(2));
    expect(await found(id(1))).toBe(id(1));
    expect(await found('first')).toBe(id(1));
  });

  test('one that does not exist is refused with those that do', async () => {
    const { store } = await withPoints(2);
    const refusal = (wanted: string) => findTestPoint(store, VM, wanted).catch((error: Error) => error.message);
    for (const wanted of [id(9), 'latest-app-consistent', 'no-such-name'])
      expect(await refusal(wanted)).toMatch(new RegExp(`"${wanted}"; usable: ${id(2)} .*; ${id(1)} `));
  });

  test('a suspect one is refused with the reason', async () => {
    const { store, next } = await withPoints(1);
    await markSuspect(store, { ...of, reason: 'a verification found 3 differing ranges' });
    await expect(findTestPoint(store, VM, id(1))).rejects.toMatchObject({
      code: 'RecoveryPointNotFound',
      detail: expect.stringContaining(
        'that is not suspect (a verification found 3 differing ranges); it has no usable point',
      ),
    });
    await next(2);
    // The damage is in the replica, so its later points share it.
    await expect(findTestPoint(store, VM, 'latest')).rejects.toMatchObject({ code: 'RecoveryPointNotFound' });
  });
});

describe('a held point', () => {
  test('outlives every pruning, and goes with the release', async () => {
    const { store, contents, next, pruneAll, contentAt } = await withPoints(2);
    const held = await hold(store, id(1));
    expect(held).toMatchObject({ id: id(1), epoch: 1, sequence: 1 });
    for (const sequence of [3, 4, 5]) {
      await next(sequence);
      await pruneAll();
    }
    expect(await pointIds(store)).toEqual([id(1), id(5)]);
    expect((await contentAt(held.disks[0]!.snapshot)).equals(contents.get(1)!)).toBe(true);
    // It needs none of the cycles after it.
    const cycles = (await store.objects.list(vaultPaths.cyclePrefix(VM))).filter((name) => name.includes(id(2)));
    expect(cycles).toEqual([]);

    expect(await releaseTestPoint(store, VM)).toBe(0);
    expect(await store.objects.list(vaultPaths.leasePrefix(VM))).toEqual([]);
    expect(await readTestHold(store, VM)).toBeUndefined();
    await pruneAll();
    expect(await pointIds(store)).toEqual([id(5)]);
    expect(await snapshots(store)).toHaveLength(1);
    expect(await releaseTestPoint(store, VM)).toBe(0);
  });

  test('is deleted by its release if the policy no longer keeps it', async () => {
    const { store, next, pruneAll } = await withPoints(2);
    const policy = policySchema.parse({ name: 'p', recoveryPointRetentionHours: 0 });
    await keepPolicy(store, VM, policy, { epoch: 1, sequence: 2 });
    await hold(store, id(1));
    await next(3);
    await pruneAll();
    expect(await pointIds(store)).toEqual([id(1), id(3)]);
    expect(await releaseTestPoint(store, VM)).toBe(1);
    expect(await pointIds(store)).toEqual([id(3)]);
    expect(await snapshots(store)).toHaveLength(1);
  });

  test('stays readable even if it was just being pruned', async () => {
    const { store, contents, next, contentAt } = await withPoints(2);
    await next(3);
    let held: Awaited<ReturnType<typeof hold>> | undefined;
    const pruning = intercept(store, 'objects.delete', {
      before: async (name) => {
        if (held || name !== vaultPaths.second(vaultPaths.point(VM, id(1)))) return;
        held = await hold(store, id(1));
      },
    });
    await pruneRecoveryPoints(pruning, { ...of, retainedFrom: Infinity });
    expect(held).toBeDefined();
    expect(await pointIds(store)).not.toContain(id(1));
    expect(await heldTestPoint(store, VM, 'job-1')).toEqual(held);
    await pruneRecoveryPoints(store, { ...of, retainedFrom: Infinity });
    expect((await contentAt(held!.disks[0]!.snapshot)).equals(contents.get(1)!)).toBe(true);
    await releaseTestPoint(store, VM);
    await pruneRecoveryPoints(store, { ...of, retainedFrom: Infinity });
    expect(await snapshots(store)).toHaveLength(1);
  });

  test('is the same for a repeated request, and replaces one that was left behind', async () => {
    const { store, next, pruneAll } = await withPoints(1);
    expect((await hold(store, 'latest')).id).toBe(id(1));
    await next(2);
    expect((await hold(store, 'latest')).id).toBe(id(1));
    expect((await hold(store, 'latest', 'job-2')).id).toBe(id(2));
    await expect(heldTestPoint(store, VM, 'job-1')).rejects.toMatchObject({ code: 'InvalidReplicaState' });
    await next(3);
    await pruneAll();
    expect(await pointIds(store)).toEqual([id(2), id(3)]);
  });

  test('is kept by a commit, and deleted when the test failover is cleaned up', async () => {
    const { store, contents, contentAt } = await withPoints(3);
    const held = await hold(store, id(1));
    await store.objects.raiseFence({ scope: vaultPaths.vm(VM), epoch: 2, sequence: 0 });
    expect(await deleteRecoveryPoints(store, { vm: VM, epoch: 2, keep: [id(3)] })).toEqual([id(2)]);
    expect((await contentAt(held.disks[0]!.snapshot)).equals(contents.get(1)!)).toBe(true);
    const at = new Date().toISOString();
    const committed = { epoch: 2, phase: 'Committed', recoveryPoint: id(3), recoveryPointTime: at, at } as const;
    await writeVaultState(store, VM, committed);
    expect(await releaseTestPoint(store, VM)).toBe(1);
    expect(await pointIds(store)).toEqual([id(3)]);
    expect(await snapshots(store)).toHaveLength(1);
  });

  test('is held by either copy of its record; without both it is no longer kept, and nothing else is affected', async () => {
    const { store, next, pruneAll } = await withPoints(1);
    await hold(store, id(1));
    const [first, second] = [vaultPaths.testHold(VM), vaultPaths.second(vaultPaths.testHold(VM))];
    const damage = (name: string) =>
      store.objects.put(name, Buffer.from('{'), { scope: vaultPaths.vm(VM), epoch: 1, sequence: LAST_SEQUENCE });
    await damage(first);
    await next(2);
    await pruneAll();
    expect(await pointIds(store)).toEqual([id(1), id(2)]);
    await damage(second);
    await next(3);
    await pruneAll();
    expect(await pointIds(store)).toEqual([id(3)]);
    expect(await releaseTestPoint(store, VM)).toBe(0);
    expect(await store.objects.list(vaultPaths.leasePrefix(VM))).toEqual([]);
  });

  test('is chosen again if it is deleted at that moment, and outlives a commit that began before', async () => {
    const { store, contents, contentAt } = await withPoints(3);
    let isPruned = false;
    const racing = intercept(store, 'objects.put', {
      before: async (name) => {
        if (isPruned || name !== vaultPaths.testHold(VM)) return;
        isPruned = true;
        await pruneRecoveryPoints(store, { ...of, retainedFrom: Infinity });
      },
    });
    // It is gone before it is held, so the name means nothing any more.
    await expect(hold(racing, 'first')).rejects.toMatchObject({ code: 'RecoveryPointNotFound' });
    expect(isPruned).toBe(true);

    await store.objects.raiseFence({ scope: vaultPaths.vm(VM), epoch: 2, sequence: 0 });
    let held: Awaited<ReturnType<typeof hold>> | undefined;
    const committing = intercept(store, 'objects.delete', {
      before: async (name) => {
        if (held || name !== vaultPaths.second(vaultPaths.point(VM, id(3)))) return;
        held = await hold(store, 'latest', 'job-2');
      },
    });
    await deleteRecoveryPoints(committing, { vm: VM, epoch: 2 });
    expect(held).toMatchObject({ id: id(3) });
    expect((await contentAt(held!.disks[0]!.snapshot)).equals(contents.get(3)!)).toBe(true);
  });
});
