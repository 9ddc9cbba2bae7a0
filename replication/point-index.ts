/**
 * The content of all recovery points' records in one object, so that thousands of points need not be read one by one,
 * twice in each cycle. The index is only a copy of the records: their names determine which points exist, newer points
 * are read from their own records, and a damaged index is built again. A damaged record can still be read from the
 * index.
 */
import { z } from 'zod';
import { CatalogueError } from '../domain/errors.js';
import { recoveryPointSchema, vaultPaths, type RecoveryPoint } from '../domain/vault.js';
import type { WriteFence } from '../ports/objects.js';
import type { RecordStore } from '../ports/replica-store.js';
import { encodeRecord, readRecord } from './vault-record.js';

/** Number of points missing from the index before it is written again; until then, they are read one by one. */
const LACKING = 16;

const indexSchema = z.object({ vm: z.string(), points: z.array(recoveryPointSchema) });

/** By id; empty if there is no usable index. @throws CatalogueError if the store cannot be reached. */
export async function readPointIndex(store: RecordStore, vm: string): Promise<ReadonlyMap<string, RecoveryPoint>> {
  const index = await readRecord(store.objects, vaultPaths.pointIndex(vm), indexSchema).catch((error: unknown) => {
    if (error instanceof CatalogueError && error.code === 'InvalidReplicaState') return undefined;
    throw error;
  });
  return new Map(index?.vm === vm ? index.points.map((point) => [point.id, point]) : []);
}

/** Writes the index if it lacks enough points. @param points as recorded. */
export async function refreshPointIndex(
  store: RecordStore,
  vm: string,
  { points, lacking }: { readonly points: readonly RecoveryPoint[]; readonly lacking: number },
  fence: WriteFence,
): Promise<void> {
  if (lacking < LACKING) return;
  await store.objects.put(vaultPaths.pointIndex(vm), encodeRecord(indexSchema, { vm, points: [...points] }), fence);
}

/** Call it before writing a record that may differ from the index. */
export const dropPointIndex = (store: RecordStore, vm: string, fence: WriteFence): Promise<void> =>
  store.objects.delete(vaultPaths.pointIndex(vm), fence);
