/**
 * What the records of all recovery points say, in one object, so that thousands of points are not read one by one, twice in
 * each cycle. It is made of the records, and only a copy of them: which points there are the records' names tell, what lies
 * beside it newer is read by itself, and a damaged index is made again. A point whose record is damaged is told by it.
 */
import { z } from 'zod';
import { CatalogueError } from '../domain/errors.js';
import { recoveryPointSchema, vaultPaths, type RecoveryPoint } from '../domain/vault.js';
import type { WriteFence } from '../ports/objects.js';
import type { RecordStore } from '../ports/replica-store.js';
import { encodeRecord, readRecord } from './vault-record.js';

/** Points that the index lacks before it is written anew: until then they are read one by one. */
const LACKING = 16;

const indexSchema = z.object({ vm: z.string(), points: z.array(recoveryPointSchema) });

/** By id; empty when there is none that can be used. @throws CatalogueError when the store is away. */
export async function readPointIndex(store: RecordStore, vm: string): Promise<ReadonlyMap<string, RecoveryPoint>> {
  const index = await readRecord(store.objects, vaultPaths.pointIndex(vm), indexSchema).catch((error: unknown) => {
    if (error instanceof CatalogueError && error.code === 'InvalidReplicaState') return undefined;
    throw error;
  });
  return new Map(index?.vm === vm ? index.points.map((point) => [point.id, point]) : []);
}

/** Writes the index when enough of what there is is not in it. @param points as they are recorded. */
export async function refreshPointIndex(
  store: RecordStore,
  vm: string,
  { points, lacking }: { readonly points: readonly RecoveryPoint[]; readonly lacking: number },
  fence: WriteFence,
): Promise<void> {
  if (lacking < LACKING) return;
  await store.objects.put(vaultPaths.pointIndex(vm), encodeRecord(indexSchema, { vm, points: [...points] }), fence);
}

/** Before a record is written that may say something else than the index. */
export const dropPointIndex = (store: RecordStore, vm: string, fence: WriteFence): Promise<void> =>
  store.objects.delete(vaultPaths.pointIndex(vm), fence);
