/**
 * The records of recovery points; only this module reads and deletes them. A damaged record does not hide the others.
 * Snapshots stay while a record is damaged, because it is unknown which of them it names.
 */
import { CatalogueError } from '../domain/errors.js';
import { compareFences, type Fence } from '../domain/fence.js';
import {
  damageSchema,
  fenceOfPointId,
  recoveryPointId,
  recoveryPointSchema,
  vaultPaths,
  type Damage,
  type DamagedRecord,
  type RecoveryPoint,
} from '../domain/vault.js';
import type { WriteFence } from '../ports/objects.js';
import type { RecordStore, ReplicaStore } from '../ports/replica-store.js';
import { deleteKept, listKept, readKept } from './kept-record.js';
import { readPointIndex } from './point-index.js';
import { readAhead } from '../concurrency/in-parallel.js';

const RECORDS_IN_FLIGHT = 8;

export interface DamagedPoint extends DamagedRecord {
  /** From its name; the rest of its content is lost. Undefined if the name is not that of a point. */
  readonly cycle: Fence | undefined;
}

export interface PointRecords {
  /** Oldest first. */
  readonly points: readonly RecoveryPoint[];
  readonly damaged: readonly DamagedPoint[];
}

export interface ReadPointRecords extends PointRecords {
  /** The intact points as recorded, oldest first. */
  readonly recorded: readonly RecoveryPoint[];
  /** Number of these that are missing from the index. */
  readonly lacking: number;
  /** Why a state may not be what the guest wrote, whether or not a point was made of it. */
  readonly suspicionOf: (state: Fence) => string | undefined;
}

/** @throws CatalogueError StoreUnreachable if the store cannot be reached, as opposed to one unreadable record. */
export async function readPointRecords(store: RecordStore, vm: string): Promise<ReadPointRecords> {
  const found: RecoveryPoint[] = [];
  const damaged: DamagedPoint[] = [];
  const ids = await listPointIds(store, vm);
  const index =
    ids.length > 0 ? await readUnlessAway(store, vm, () => readPointIndex(store, vm)).catch(noIndex) : NO_INDEX;
  const indexed = (id: string) => {
    const point = index.get(id);
    return point && pointProblem(point, vm, id) === undefined ? point : undefined;
  };
  const read = async (id: string) => indexed(id) ?? (await readPoint(store, vm, id));
  for await (const point of readAhead(ids, RECORDS_IN_FLIGHT, read)) {
    if (point === undefined) continue;
    if ('problem' in point) damaged.push(point);
    else found.push(point);
  }
  const points: RecoveryPoint[] = [];
  const recorded: RecoveryPoint[] = [];
  const disks = disksOfEpochs(found);
  const damage = await readDamage(store, vm);
  for (const point of found.sort(compareFences)) {
    const missing = missingDisks(point, disks);
    if (missing.length === 0) {
      points.push(withSuspicion(point, damage));
      recorded.push(point);
    } else {
      const problem = `${vaultPaths.point(vm, point.id)} lacks the disk ${missing.join(', ')}, which the epoch has`;
      damaged.push({ name: vaultPaths.point(vm, point.id), problem, cycle: point });
    }
  }
  const lacking = recorded.filter(({ id }) => !indexed(id)).length;
  return { points, damaged, recorded, lacking, suspicionOf: (state) => suspicionOf(state, damage) };
}

/** Leaves out, and names, points whose snapshots the store lacks or cannot read. */
export async function readablePoints(
  store: ReplicaStore,
  vm: string,
  points: readonly RecoveryPoint[],
): Promise<PointRecords> {
  const readable = new Map<string, ReadonlySet<string>>();
  for (const disk of new Set(points.flatMap(({ disks }) => disks.map(({ name }) => name)))) {
    const listed = store.disks.listSnapshots({ vm, disk }, { isReadable: true });
    readable.set(disk, new Set(await listed.catch(unlessDamaged)));
  }
  const whole: RecoveryPoint[] = [];
  const damaged: DamagedPoint[] = [];
  for (const point of points) {
    const lost = point.disks.find((disk) => !readable.get(disk.name)!.has(disk.snapshot));
    if (!lost) {
      whole.push(point);
      continue;
    }
    const name = vaultPaths.point(vm, point.id);
    const problem = `${name}: there is no snapshot ${lost.snapshot} of disk ${lost.name} that can be read`;
    damaged.push({ name, problem, cycle: point });
  }
  if (damaged.length === 0) return { points: whole, damaged };
  // A point that was pruned meanwhile is not damaged.
  const there = new Set((await listPointIds(store, vm)).map((id) => vaultPaths.point(vm, id)));
  return { points: whole, damaged: damaged.filter(({ name }) => there.has(name)) };
}

function unlessDamaged(error: unknown): readonly string[] {
  if (error instanceof CatalogueError && error.code === 'InvalidReplicaState') return [];
  throw error;
}

const NO_INDEX: ReadonlyMap<string, RecoveryPoint> = new Map();

/** An unreadable index counts as missing: the records exist. @throws any other error. */
function noIndex(error: unknown): typeof NO_INDEX {
  if (error instanceof CatalogueError && error.code === 'InvalidReplicaState') return NO_INDEX;
  throw error;
}

/** Ids of all points that have a record, whatever its content, oldest first. */
export async function listPointIds(store: RecordStore, vm: string): Promise<string[]> {
  const prefix = vaultPaths.pointPrefix(vm);
  return (await listKept(store.objects, prefix)).map((name) => name.slice(prefix.length).replace(/\.json$/, ''));
}

export const deletePoint = (store: RecordStore, vm: string, id: string, fence: WriteFence): Promise<void> =>
  deleteKept(store.objects, vaultPaths.point(vm, id), fence);

/** The point as recorded; `withSuspicion` adds whether it is suspect. Undefined if it is gone. */
export async function readPoint(
  store: RecordStore,
  vm: string,
  id: string,
): Promise<RecoveryPoint | DamagedPoint | undefined> {
  const name = vaultPaths.point(vm, id);
  const cycle = fenceOfPointId(id);
  const damaged = (problem: string): DamagedPoint => ({ name, problem, cycle });
  if (!cycle) return damaged(`${name} has not the name of a recovery point`);
  try {
    const point = await readUnlessAway(store, vm, () => readKept(store.objects, name, recoveryPointSchema));
    if (!point) return undefined;
    const problem = pointProblem(point, vm, id);
    return problem === undefined ? point : damaged(`${name} ${problem}`);
  } catch (error) {
    if (!(error instanceof CatalogueError) || error.code !== 'InvalidReplicaState') throw error;
    return damaged(error.detail);
  }
}

/**
 * Repeats a failed read if the store answers other requests; if it fails again, the data is damaged.
 * @throws CatalogueError StoreUnreachable if the store cannot be reached, InvalidReplicaState if only the requested
 * data is unreadable, and other errors of `read`.
 */
export async function readUnlessAway<T>(store: RecordStore, vm: string, read: () => Promise<T>): Promise<T> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await read();
    } catch (error) {
      if (!(error instanceof CatalogueError) || error.code !== 'StoreUnreachable') throw error;
      await store.objects.readFence(vaultPaths.vm(vm));
      if (attempt === 2)
        throw new CatalogueError('InvalidReplicaState', `can't be read: ${error.detail}`, { cause: error });
    }
  }
}

function pointProblem(point: RecoveryPoint, vm: string, id: string): string | undefined {
  const { epoch, sequence, disks } = point;
  if (point.vm !== vm || point.id !== id || recoveryPointId(epoch, sequence) !== id) {
    return `says it is ${recoveryPointId(epoch, sequence)} of ${point.vm}`;
  }
  if (disks.length === 0) return 'names no disk';
  return new Set(disks.map(({ name }) => name)).size === disks.length ? undefined : 'names a disk twice';
}

/** An epoch has one set of disks: for each epoch, the disks of any of its points. There are thousands of points. */
function disksOfEpochs(points: readonly RecoveryPoint[]): ReadonlyMap<number, ReadonlySet<string>> {
  const found = new Map<number, Set<string>>();
  for (const { epoch, disks } of points) {
    const names = found.get(epoch) ?? new Set();
    for (const { name } of disks) names.add(name);
    found.set(epoch, names);
  }
  return found;
}

const missingDisks = ({ epoch, disks }: RecoveryPoint, all: ReadonlyMap<number, ReadonlySet<string>>): string[] =>
  [...(all.get(epoch) ?? [])].filter((name) => !disks.some((disk) => disk.name === name));

/** Above the epoch of any point. */
export const LOST_DAMAGE_EPOCH = Number.MAX_SAFE_INTEGER;

/** The findings of verifications; if they cannot be read, a damage without details. */
export async function readDamage(store: RecordStore, vm: string): Promise<Damage | undefined> {
  const name = vaultPaths.damage(vm);
  try {
    return await readUnlessAway(store, vm, () => readKept(store.objects, name, damageSchema));
  } catch (error) {
    if (!(error instanceof CatalogueError) || error.code !== 'InvalidReplicaState') throw error;
    const reason = `the findings of verifications can't be read (${error.detail}); verify the VM, and delete this record if the replica is equal`;
    return { epoch: LOST_DAMAGE_EPOCH, sequence: 0, reason };
  }
}

/** A point with its suspicion, which its record does not contain. */
export function withSuspicion(point: RecoveryPoint, damage: Damage | undefined): RecoveryPoint {
  const suspect = point.suspect ?? suspicionOf(point, damage);
  return suspect === undefined ? point : { ...point, suspect };
}

/** A point keeps the first reason for which it was marked. */
function suspicionOf(state: Fence, damage: Damage | undefined): string | undefined {
  if (!damage) return undefined;
  const found = [...(damage.earlier ?? []), damage];
  const upTo = found.find(
    ({ epoch, sequence }) => sequence !== undefined && compareFences(state, { epoch, sequence }) <= 0,
  );
  return upTo?.reason ?? (damage.epoch === state.epoch ? damage.reason : undefined);
}
