/** Thousands of points are told by one object, which is never more than a copy of their records. */
import { expect, test } from 'vitest';
import { recoveryPointId, recoveryPointSchema, vaultPaths, type RecoveryPoint } from '../../domain/vault.js';
import { putKept } from '../../replication/kept-record.js';
import { readPointRecords } from '../../replication/point-records.js';
import { prepareReplica } from '../../replication/replica.js';
import { deleteRecoveryPoints, listRecoveryPoints, pruneRecoveryPoints } from '../../replication/recovery-points.js';
import { encodeRecord } from '../../replication/vault-record.js';
import type { ReplicaStore } from '../../ports/replica-store.js';
import { dieAtEveryCall } from './faulty-store.js';
import { intercept } from './intercepted-store.js';
import { describeReplica, MiB, VM } from './model.js';
import { openStore } from './replica-fixture.js';

const FENCE = { scope: vaultPaths.vm(VM), epoch: 1, sequence: 0 };
const COUNT = 40;
const START = Date.UTC(2026, 0, 1);
const INDEX = vaultPaths.pointIndex(VM);
const prune = (store: ReplicaStore, retainedFrom = 0) => pruneRecoveryPoints(store, { vm: VM, epoch: 1, retainedFrom });

function pointOf(sequence: number): RecoveryPoint {
  const time = new Date(START + sequence * 1000).toISOString();
  const id = recoveryPointId(1, sequence);
  return {
    epoch: 1,
    sequence,
    id,
    vm: VM,
    time,
    kind: 'crashConsistent',
    disks: [{ name: 'os', snapshot: `s${sequence}` }],
  };
}

const record = (point: RecoveryPoint) => encodeRecord(recoveryPointSchema, point);
const nameOf = (sequence: number) => vaultPaths.point(VM, recoveryPointId(1, sequence));
const addPoint = (store: ReplicaStore, sequence: number) =>
  putKept(store.objects, nameOf(sequence), record(pointOf(sequence)), FENCE);

async function withPoints() {
  const { store } = await openStore();
  await prepareReplica(store, describeReplica({ os: 1 * MiB }, 1), FENCE);
  for (let sequence = 1; sequence <= COUNT; sequence += 1) await addPoint(store, sequence);
  return store;
}

const sequencesOf = (points: readonly RecoveryPoint[]) => points.map(({ sequence }) => sequence);
const upTo = (last: number, first = 1) => Array.from({ length: last - first + 1 }, (_, index) => first + index);

test('with an index, almost no record is read, and the same points are listed', async () => {
  const store = await withPoints();
  const before = await listRecoveryPoints(store, VM);
  await prune(store);
  for (const sequence of upTo(COUNT + 3, COUNT + 1)) await addPoint(store, sequence);
  const read: unknown[] = [];
  const counting = intercept(store, 'objects.get', { before: async (name) => read.push(name) });
  const points = await listRecoveryPoints(counting, VM);
  expect(points.slice(0, COUNT)).toEqual(before);
  expect(sequencesOf(points)).toEqual(upTo(COUNT + 3));
  // The index, the three that it lacks, and what verifications have found, of which there is neither copy.
  expect(read).toHaveLength(1 + 3 + 2);
});

test('deleted points are not listed, whatever the index contains; a damaged index is ignored and built again', async () => {
  const store = await withPoints();
  await prune(store);
  const { gone } = await prune(store, START + 10_500);
  expect(gone).toHaveLength(10);
  expect(sequencesOf(await listRecoveryPoints(store, VM))).toEqual(upTo(COUNT, 11));
  for (const damaged of ['', 'not JSON', (await store.objects.get(INDEX))!.toString().replace('"s12"', '"s13"')]) {
    await store.objects.put(INDEX, Buffer.from(damaged), FENCE);
    const { points, lacking } = await readPointRecords(store, VM);
    expect([sequencesOf(points), lacking]).toEqual([upTo(COUNT, 11), 30]);
    expect(points[1]!.disks[0]!.snapshot).toBe('s12');
    await prune(store);
    expect((await readPointRecords(store, VM)).lacking).toBe(0);
  }
});

test('an index of another VM, or an entry of another point, is ignored', async () => {
  const store = await withPoints();
  await prune(store);
  const { checksum: _, ...index } = JSON.parse((await store.objects.get(INDEX))!.toString()) as {
    checksum: string;
    vm: string;
    points: RecoveryPoint[];
  };
  for (const wrong of [
    { ...index, vm: 'other' },
    { ...index, points: index.points.map((point) => ({ ...point, sequence: point.sequence + 1 })) },
  ]) {
    await store.objects.put(INDEX, Buffer.from(JSON.stringify(wrong)), FENCE);
    expect(sequencesOf(await listRecoveryPoints(store, VM))).toEqual(upTo(COUNT));
  }
});

test('a point with two damaged records is read from the index', async () => {
  const store = await withPoints();
  await prune(store);
  for (const name of [nameOf(5), vaultPaths.second(nameOf(5))]) await store.objects.put(name, Buffer.from('{'), FENCE);
  const { points, damaged } = await readPointRecords(store, VM);
  expect(points[4]).toEqual(pointOf(5));
  expect(damaged).toEqual([]);
});

test('the index is deleted with the points', async () => {
  const store = await withPoints();
  await prune(store);
  await deleteRecoveryPoints(store, { vm: VM, epoch: 1, keep: [recoveryPointId(1, 7)] });
  expect(await store.objects.get(INDEX)).toBeUndefined();
  expect(sequencesOf(await listRecoveryPoints(store, VM))).toEqual([7]);
});

test('pruning that dies at any point and is repeated has the same result', async () => {
  await dieAtEveryCall(async () => {
    const { store } = await openStore();
    await prepareReplica(store, describeReplica({ os: 1 * MiB }, 1), FENCE);
    for (const sequence of upTo(18)) await addPoint(store, sequence);
    return {
      store,
      work: (faulty) => prune(faulty, START + 2_500),
      check: async () => {
        expect(sequencesOf(await listRecoveryPoints(store, VM))).toEqual(upTo(18, 3));
        await store.close();
      },
    };
  });
});
