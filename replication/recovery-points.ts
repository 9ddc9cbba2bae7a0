/**
 * Recovery points: snapshots of all disks at one applied cycle. A point exists when its record does, which names the
 * snapshots. A snapshot that no record names was left by an interrupted attempt, and is deleted.
 */
import { CatalogueError } from '../domain/errors.js';
import { compareFences, formatFence } from '../domain/fence.js';
import { pointsToPrune } from '../domain/recovery-point.js';
import {
  damageSchema,
  recoveryPointId,
  recoveryPointSchema,
  vaultPaths,
  type Damage,
  type RecoveryPoint,
  type ReplicaDescription,
  type TestHold,
} from '../domain/vault.js';
import type { WriteFence } from '../ports/objects.js';
import type { RecordStore, ReplicaStore } from '../ports/replica-store.js';
import { allDiskNames, dropFormerDisks, unnamedFormerDisks } from './former-disks.js';
import { putKept, putKeptIfAbsent } from './kept-record.js';
import { readLeases } from './point-leases.js';
import {
  deletePoint,
  listPointIds,
  LOST_DAMAGE_EPOCH,
  readDamage,
  readPoint,
  readPointRecords,
  withSuspicion,
  type PointRecords,
} from './point-records.js';
import { dropPointIndex, refreshPointIndex } from './point-index.js';
import { inParallel, readAhead } from '../concurrency/in-parallel.js';
import { descriptionOfEpoch, fenceOfEpoch, readApplied, readDescription, vmFence } from './replica-state.js';
import { readTestHold } from './test-hold.js';
import { encodeRecord } from './vault-record.js';

const DISKS_IN_FLIGHT = 4;
const RECORDS_IN_FLIGHT = 8;

export interface PointTask {
  readonly vm: string;
  readonly epoch: number;
  /** The cycle that the replica holds. */
  readonly sequence: number;
  readonly kind: RecoveryPoint['kind'];
  /** Names of the point. */
  readonly tags?: readonly string[] | undefined;
}

/**
 * Repeated for the same cycle, returns the same point, whatever has been applied since.
 * @throws CatalogueError InvalidReplicaState if the replica does not hold exactly this cycle, StaleEpoch.
 */
export async function createRecoveryPoint(store: ReplicaStore, task: PointTask): Promise<RecoveryPoint> {
  const { vm, epoch, sequence, kind, tags = [] } = task;
  const id = recoveryPointId(epoch, sequence);
  const name = vaultPaths.point(vm, id);
  const fence = vmFence(vm, task);
  const description = await descriptionOfEpoch(store, vm, epoch);
  const there = await readPoint(store, vm, id);
  if (there && !('problem' in there)) return withSuspicion(there, await readDamage(store, vm));

  const current = await fenceOfEpoch(store, vm, epoch);
  const applied = await readApplied(store, vm);
  // The fence is raised before the first page of a cycle is written: if it is ahead, the disks are between two cycles.
  if (!applied || compareFences(applied, task) !== 0 || compareFences(current, task) !== 0) {
    const state = applied ? `holds ${formatFence(applied)}` : 'holds no cycle';
    throw new CatalogueError(
      'InvalidReplicaState',
      `${vm}: no recovery point of ${formatFence(task)}: the replica ${state}, writing is at ${formatFence(current)}`,
    );
  }
  const disks: RecoveryPoint['disks'] = [];
  const snapshot = async ({ name: disk, size }: ReplicaDescription['disks'][number]) => ({
    name: disk,
    snapshot: await store.disks.snapshot({ vm, disk }, fence),
    size,
  });
  const names = diskNames(description);
  for await (const taken of readAhead(description.disks, DISKS_IN_FLIGHT, snapshot)) disks.push(taken);
  const point: RecoveryPoint = {
    ...{ epoch, sequence, id, vm, time: applied.sealedAt, kind },
    ...(tags.length > 0 && { tags: [...tags] }),
    disks,
  };
  const record = encodeRecord(recoveryPointSchema, point);
  // A damaged record is made again: the replica still holds its cycle.
  if (there) {
    await dropPointIndex(store, vm, fence);
    await putKept(store.objects, name, record, fence);
  } else await putKeptIfAbsent(store.objects, name, record, fence);
  const records = await readPointRecords(store, vm);
  await deleteUnlisted(store, vm, names, records, fence);
  const made = records.points.find((one) => one.id === id);
  if (made) return made;
  throw new CatalogueError('InvalidReplicaState', `${vm}: recovery point ${id} came and went`);
}

/**
 * Marks all existing points and those that the epoch will still get: a replica may have been damaged for a long time,
 * and points share unchanged data with it. Repeated, a point keeps its first reason. The records of the points are not
 * changed: a point that was pruned meanwhile would reappear.
 */
export async function markSuspect(
  store: RecordStore,
  { vm, epoch, reason }: { vm: string; epoch: number; reason: string },
): Promise<void> {
  const fence = await fenceOfEpoch(store, vm, epoch);
  const before = await readDamage(store, vm);
  const { points } = await readPointRecords(store, vm);
  const sequence = points.findLast((point) => point.epoch === epoch)?.sequence ?? 0;
  const known = before && before.epoch !== LOST_DAMAGE_EPOCH ? [...(before.earlier ?? []), found(before)] : [];
  // A damage that no longer concerns any point is dropped.
  const kept = known.filter((one) => points.some((point) => compareFences(point, { sequence: 0, ...one }) <= 0));
  const damage: Damage = { epoch, sequence, reason, ...(kept.length > 0 && { earlier: kept }) };
  await putKept(store.objects, vaultPaths.damage(vm), encodeRecord(damageSchema, damage), fence);
}

const found = ({ earlier: _, ...newest }: Damage) => newest;

/** The intact points, oldest first. */
export const listRecoveryPoints = async (store: RecordStore, vm: string): Promise<RecoveryPoint[]> => [
  ...(await readPointRecords(store, vm)).points,
];

export interface PruneTask {
  readonly vm: string;
  readonly epoch: number;
  /** Points before this instant are deleted, ms since 1970. */
  readonly retainedFrom: number;
  /** Now, by the recovery site's clock, ms since 1970. */
  readonly until?: number;
  /** Ids of points in use, which are kept. */
  readonly keep?: readonly string[];
}

export interface Pruned {
  /** Ids of the deleted points. */
  readonly gone: readonly string[];
  /** The remaining points, oldest first. */
  readonly kept: readonly RecoveryPoint[];
}

/** Keeps the newest point, however old it is. @throws CatalogueError StaleEpoch */
export async function pruneRecoveryPoints(store: ReplicaStore, task: PruneTask): Promise<Pruned> {
  const { vm, epoch } = task;
  const fence = await fenceOfEpoch(store, vm, epoch);
  const { points, damaged, recorded, lacking } = await readPointRecords(store, vm);
  const leases = await readLeases(store, vm, fence);
  const keep = [...(task.keep ?? []), ...leases.points];
  const going = leases.keepAll ? [] : pointsToPrune(points, { ...task, keep });
  const staying = points.filter((point) => !going.includes(point));
  // An unreadable point is older than the next readable one, and is deleted together with it.
  const newestGone = going.at(-1);
  const lost = damaged.filter(({ cycle }) => cycle && newestGone && compareFences(cycle, newestGone) < 0);
  const ids = [
    ...going.map(({ id }) => id),
    ...lost.map(({ cycle }) => recoveryPointId(cycle!.epoch, cycle!.sequence)),
  ];
  await inParallel(ids, RECORDS_IN_FLIGHT, (id) => deletePoint(store, vm, id, fence));
  const left = { points: staying, damaged: damaged.filter((one) => !lost.includes(one)) };
  await deleteUnlisted(store, vm, [...new Set(points.flatMap(diskNames))], left, fence);
  const description = await readDescription(store, vm);
  if (description) await dropFormerDisks(store, description, left, fence);
  const gone = new Set(ids);
  await refreshPointIndex(store, vm, { points: recorded.filter(({ id }) => !gone.has(id)), lacking }, fence);
  return { gone: ids, kept: staying };
}

/** What the next prune deletes besides expired points: snapshots that no point names, and former disks. */
export async function prunable(
  store: ReplicaStore,
  description: ReplicaDescription,
): Promise<{ readonly snapshots: number; readonly formerDisks: readonly string[] }> {
  const { vm } = description;
  const records = await readPointRecords(store, vm);
  const disks = [...new Set(records.points.flatMap(diskNames))];
  const unlisted = await unlistedSnapshots(store, vm, disks, records);
  return {
    snapshots: unlisted.reduce((sum, { snapshots }) => sum + snapshots.length, 0),
    formerDisks: await unnamedFormerDisks(store, description, records),
  };
}

export interface DeletePointsTask {
  readonly vm: string;
  readonly epoch: number;
  /** Ids of points in use, which are kept; the one of a test VM is kept, too. */
  readonly keep?: readonly string[];
}

/**
 * Used by a commit. Nobody may be making a point meanwhile; a raised fence ensures that.
 * @returns ids of the deleted points. @throws CatalogueError StaleEpoch
 */
export async function deleteRecoveryPoints(store: ReplicaStore, task: DeletePointsTask): Promise<string[]> {
  const { vm, epoch, keep = [] } = task;
  const fence = await fenceOfEpoch(store, vm, epoch);
  const description = await readDescription(store, vm);
  // A test VM may run from one of them.
  const held = async () => (await readTestHold(store, vm))?.of;
  const names = description ? allDiskNames(description) : [];
  const gone = await removeRecoveryPoints(store, vm, names, keep, fence, held);
  if (description) await dropFormerDisks(store, description, await readPointRecords(store, vm), fence);
  return gone;
}

/**
 * For a holder of the fence who knows that nobody is making a point.
 * @param held the point of a test VM, which is kept. It is looked for again before snapshots are deleted: a test
 * failover that has begun meanwhile holds its point in this order, too.
 * @returns ids of the deleted points.
 */
export async function removeRecoveryPoints(
  store: ReplicaStore,
  vm: string,
  disks: readonly string[],
  keepIds: readonly string[],
  fence: WriteFence,
  held: () => Promise<TestHold['of'] | undefined> = async () => undefined,
): Promise<string[]> {
  const ids = await listPointIds(store, vm);
  const before = await held();
  const keep = before ? [...keepIds, before.id] : keepIds;
  await dropPointIndex(store, vm, fence);
  const going = ids.filter((id) => !keep.includes(id));
  await inParallel(going, RECORDS_IN_FLIGHT, (id) => deletePoint(store, vm, id, fence));
  const after = await held();
  const kept: Pick<RecoveryPoint, 'disks'>[] = after ? [after] : [];
  for (const id of ids.filter((one) => keep.includes(one))) {
    const point = await readPoint(store, vm, id);
    // A replica VM may use one of its snapshots, and it is unknown which.
    if (point && 'problem' in point) return going;
    if (point) kept.push(point);
  }
  await inParallel(disks, DISKS_IN_FLIGHT, async (disk) => {
    const replicaDisk = { vm, disk };
    if ((await store.disks.size(replicaDisk)) === undefined) return;
    const listed = snapshotsOf(kept, disk);
    for (const snapshot of await store.disks.listSnapshots(replicaDisk)) {
      if (!listed.includes(snapshot)) await store.disks.deleteSnapshot(replicaDisk, snapshot, fence);
    }
  });
  return going;
}

const diskNames = ({ disks }: { disks: readonly { name: string }[] }): string[] => disks.map(({ name }) => name);

const snapshotsOf = (points: readonly Pick<RecoveryPoint, 'disks'>[], disk: string): string[] =>
  points.flatMap((point) => point.disks.filter(({ name }) => name === disk).map(({ snapshot }) => snapshot));

/**
 * Deletes the snapshots that no point names. Keeps those younger than the newest point's, because they may belong to a
 * point that is being made. Keeps all while a point is unreadable, because it may become readable again, and those
 * being read now, even if the record of their point is gone.
 */
async function deleteUnlisted(
  store: ReplicaStore,
  vm: string,
  disks: readonly string[],
  records: PointRecords,
  fence: WriteFence,
): Promise<void> {
  const unlisted = await unlistedSnapshots(store, vm, disks, records);
  await inParallel(unlisted, DISKS_IN_FLIGHT, async ({ disk, snapshots }) => {
    for (const snapshot of snapshots) await store.disks.deleteSnapshot({ vm, disk }, snapshot, fence);
  });
}

/** The snapshots that a prune would delete because no point names them. */
async function unlistedSnapshots(
  store: ReplicaStore,
  vm: string,
  disks: readonly string[],
  { points, damaged }: PointRecords,
): Promise<{ readonly disk: string; readonly snapshots: readonly string[] }[]> {
  if (damaged.some(({ cycle }) => cycle)) return [];
  const leases = await readLeases(store, vm);
  if (leases.keepAll) return [];
  const unlisted: { disk: string; snapshots: string[] }[] = [];
  await inParallel(disks, DISKS_IN_FLIGHT, async (disk) => {
    const replicaDisk = { vm, disk };
    const listed = snapshotsOf(points, disk);
    const newest = listed.toSorted().at(-1);
    if (newest === undefined || (await store.disks.size(replicaDisk)) === undefined) return;
    const kept = [...listed, ...leases.snapshotsOf(disk)];
    const all = await store.disks.listSnapshots(replicaDisk);
    const snapshots = all.filter((snapshot) => snapshot < newest && !kept.includes(snapshot));
    if (snapshots.length > 0) unlisted.push({ disk, snapshots });
  });
  return unlisted;
}
