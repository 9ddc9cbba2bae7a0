/**
 * The hold of a test failover: a record in the vault that keeps pruning and commits from deleting the recovery point
 * that a test VM runs from. Unlike a lease, it does not end by itself. There is at most one for each VM, and it names
 * the job that made it, so that a later test failover, or a clean-up, recognizes and replaces one that was left behind.
 */
import { CatalogueError } from '../domain/errors.js';
import { testHoldSchema, vaultPaths, type TestHold } from '../domain/vault.js';
import type { WriteFence } from '../ports/objects.js';
import type { RecordStore } from '../ports/replica-store.js';
import { deleteKept, putKept, readKept } from './kept-record.js';
import { encodeRecord } from './vault-record.js';

/** Undefined also if both copies of the record are damaged: the test VM can then no longer be protected. */
export async function readTestHold(store: RecordStore, vm: string): Promise<TestHold | undefined> {
  try {
    return await readKept(store.objects, vaultPaths.testHold(vm), testHoldSchema);
  } catch (error) {
    if (error instanceof CatalogueError && error.code === 'InvalidReplicaState') return undefined;
    throw error;
  }
}

/** Replaces an earlier one. @throws CatalogueError StaleEpoch */
export const writeTestHold = (store: RecordStore, vm: string, hold: TestHold, fence: WriteFence): Promise<void> =>
  putKept(store.objects, vaultPaths.testHold(vm), encodeRecord(testHoldSchema, hold), fence);

/** @throws CatalogueError StaleEpoch */
export const deleteTestHold = (store: RecordStore, vm: string, fence: WriteFence): Promise<void> =>
  deleteKept(store.objects, vaultPaths.testHold(vm), fence);
