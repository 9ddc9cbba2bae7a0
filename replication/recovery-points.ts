/**
 * Recovery points: snapshots of all disks at one applied cycle. A point exists when its manifest does, which names the
 * snapshots; a snapshot that no manifest names is left over from an attempt that died, and goes.
 */
import { CatalogueError } from '../domain/errors.js';
import { compareFences, formatFence } from '../domain/fence.js';
import { pointsToPrune } from '../domain/recovery-point.js';
import {
  damageSchema,
  recoveryPointId,
  recoveryPointSchema,
  vaultPaths,
  type RecoveryPoint,
  type ReplicaDescription,
} from '../domain/vault.js';
import type { ReplicaStore, WriteFence } from '../sites/ports.js';
import { allDiskNames, dropFormerDisks } from './former-disks.js';
import { inParallel, readAhead } from './read-ahead.js';
import { descriptionOfEpoch, fenceOfEpoch, readApplied, readDescription, vmFence } from './replica-state.js';
import { encodeRecord, readRecord } from './vault-record.js';

const DISKS_IN_FLIGHT = 4;
const RECORDS_IN_FLIGHT = 8;

export interface PointTask {
  readonly vm: string;
  readonly epoch: number;
  /** The cycle the replica is at. */
  readonly sequence: number;
  readonly kind: RecoveryPoint['kind'];
  /** Names it gets. */
  readonly tags?: readonly string[] | undefined;
}

/**
 * Repeated for the same cycle it answers with the same point, whatever has been applied since.
 * @throws CatalogueError InvalidReplicaState when the replica is not exactly at this cycle, StaleEpoch.
 */
export async function createRecoveryPoint(store: ReplicaStore, task: PointTask): Promise<RecoveryPoint> {
  const { vm, epoch, sequence, kind, tags = [] } = task;
  const id = recoveryPointId(epoch, sequence);
  const name = vaultPaths.point(vm, id);
  const fence = vmFence(vm, task);
  const description = await descriptionOfEpoch(store, vm, epoch);
  const there = await readRecord(store, name, recoveryPointSchema);
  if (there) return there;

  const current = await fenceOfEpoch(store, vm, epoch);
  const applied = await readApplied(store, vm);
  // The fence is raised before the first page of a cycle is written: behind it the disks are between two cycles.
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
    snapshot: await store.snapshotPageBlob(vaultPaths.disk(vm, disk), fence),
    size,
  });
  const names = diskNames(description);
  for await (const taken of readAhead(description.disks, DISKS_IN_FLIGHT, snapshot)) disks.push(taken);
  const damage = await readRecord(store, vaultPaths.damage(vm), damageSchema);
  const point: RecoveryPoint = {
    ...{ epoch, sequence, id, vm, time: applied.sealedAt, kind },
    ...(tags.length > 0 && { tags: [...tags] }),
    ...(damage?.epoch === epoch && { suspect: damage.reason }),
    disks,
  };
  const created = await store.putObjectIfAbsent(name, encodeRecord(recoveryPointSchema, point), fence);
  const points = await listRecoveryPoints(store, vm);
  await deleteUnlisted(store, vm, names, points, fence);
  if (created) return point;
  const other = points.find((one) => one.id === id);
  if (other) return other;
  throw new CatalogueError('InvalidReplicaState', `${vm}: recovery point ${id} came and went`);
}

/**
 * Marks every point there is, and those that the epoch still gets: what is damaged in a replica may have been for long, and
 * points share with it what has not changed since. Repeated: a point keeps the reason it was marked for first.
 */
export async function markSuspect(
  store: ReplicaStore,
  { vm, epoch, reason }: { vm: string; epoch: number; reason: string },
): Promise<void> {
  // Read first: who comes late meets a newer fence, and brings no point back that was pruned meanwhile.
  const fence = await fenceOfEpoch(store, vm, epoch);
  await store.putObject(vaultPaths.damage(vm), encodeRecord(damageSchema, { epoch, reason }), fence);
  for (const point of await listRecoveryPoints(store, vm)) {
    if (point.suspect !== undefined) continue;
    const marked = encodeRecord(recoveryPointSchema, { ...point, suspect: reason });
    await store.putObject(vaultPaths.point(vm, point.id), marked, fence);
  }
}

/** Oldest first. */
export async function listRecoveryPoints(store: ReplicaStore, vm: string): Promise<RecoveryPoint[]> {
  const names = await store.listObjects(vaultPaths.pointPrefix(vm));
  const points: RecoveryPoint[] = [];
  const read = (name: string) => readRecord(store, name, recoveryPointSchema);
  for await (const point of readAhead(names, RECORDS_IN_FLIGHT, read)) if (point) points.push(point);
  return points.sort(compareFences);
}

export interface PruneTask {
  readonly vm: string;
  readonly epoch: number;
  /** Points before this instant go, ms since 1970. */
  readonly retainedFrom: number;
  /** Now, by the recovery side's clock, ms since 1970. */
  readonly until?: number;
  /** Ids of points that are in use, and stay. */
  readonly keep?: readonly string[];
}

export interface Pruned {
  /** Ids of the points that went. */
  readonly gone: readonly string[];
  /** What is left, oldest first. */
  readonly kept: readonly RecoveryPoint[];
}

/** The newest point stays however old it is. @throws CatalogueError StaleEpoch */
export async function pruneRecoveryPoints(store: ReplicaStore, task: PruneTask): Promise<Pruned> {
  const { vm, epoch } = task;
  const fence = await fenceOfEpoch(store, vm, epoch);
  const points = await listRecoveryPoints(store, vm);
  const going = pointsToPrune(points, task);
  const staying = points.filter((point) => !going.includes(point));
  await inParallel(going, RECORDS_IN_FLIGHT, ({ id }) => store.deleteObject(vaultPaths.point(vm, id), fence));
  await deleteUnlisted(store, vm, [...new Set(points.flatMap(diskNames))], staying, fence);
  const description = await readDescription(store, vm);
  if (description) await dropFormerDisks(store, description, staying, fence);
  return { gone: going.map(({ id }) => id), kept: staying };
}

export interface DeletePointsTask {
  readonly vm: string;
  readonly epoch: number;
  /** Ids of points that are in use, and stay. */
  readonly keep?: readonly string[];
}

/**
 * As at a commit. Nobody may be making a point meanwhile: a raised fence sees to that.
 * @returns ids of the points that went. @throws CatalogueError StaleEpoch
 */
export async function deleteRecoveryPoints(store: ReplicaStore, task: DeletePointsTask): Promise<string[]> {
  const { vm, epoch, keep = [] } = task;
  const fence = await fenceOfEpoch(store, vm, epoch);
  const description = await readDescription(store, vm);
  const gone = await removeRecoveryPoints(store, vm, description ? allDiskNames(description) : [], keep, fence);
  if (description) await dropFormerDisks(store, description, await listRecoveryPoints(store, vm), fence);
  return gone;
}

/** For a holder of the fence who knows that nobody is making a point. @returns ids of the points that went. */
export async function removeRecoveryPoints(
  store: ReplicaStore,
  vm: string,
  disks: readonly string[],
  keep: readonly string[],
  fence: WriteFence,
): Promise<string[]> {
  const prefix = vaultPaths.pointPrefix(vm);
  const ids = (await store.listObjects(prefix)).map((name) => name.slice(prefix.length).replace(/\.json$/, ''));
  const kept: RecoveryPoint[] = [];
  for (const id of ids.filter((one) => keep.includes(one))) {
    const point = await readRecord(store, vaultPaths.point(vm, id), recoveryPointSchema);
    if (point) kept.push(point);
  }
  const going = ids.filter((id) => !keep.includes(id));
  await inParallel(going, RECORDS_IN_FLIGHT, (id) => store.deleteObject(vaultPaths.point(vm, id), fence));
  await inParallel(disks, DISKS_IN_FLIGHT, async (disk) => {
    const blob = vaultPaths.disk(vm, disk);
    if ((await store.pageBlobSize(blob)) === undefined) return;
    const listed = snapshotsOf(kept, disk);
    for (const snapshot of await store.listSnapshots(blob)) {
      if (!listed.includes(snapshot)) await store.deleteSnapshot(blob, snapshot, fence);
    }
  });
  return going;
}

const diskNames = ({ disks }: { disks: readonly { name: string }[] }): string[] => disks.map(({ name }) => name);

const snapshotsOf = (points: readonly RecoveryPoint[], disk: string): string[] =>
  points.flatMap((point) => point.disks.filter(({ name }) => name === disk).map(({ snapshot }) => snapshot));

/**
 * Deletes the snapshots no point names. Younger ones than the newest point's are left: they may be those of a point
 * that is being made just now.
 */
async function deleteUnlisted(
  store: ReplicaStore,
  vm: string,
  disks: readonly string[],
  points: readonly RecoveryPoint[],
  fence: WriteFence,
): Promise<void> {
  await inParallel(disks, DISKS_IN_FLIGHT, async (disk) => {
    const blob = vaultPaths.disk(vm, disk);
    const listed = snapshotsOf(points, disk);
    const newest = listed.toSorted().at(-1);
    if (newest === undefined || (await store.pageBlobSize(blob)) === undefined) return;
    for (const snapshot of await store.listSnapshots(blob)) {
      if (snapshot < newest && !listed.includes(snapshot)) await store.deleteSnapshot(blob, snapshot, fence);
    }
  });
}
