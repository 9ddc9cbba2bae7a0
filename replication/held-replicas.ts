/** The replicas in a store, and those that VMs run from. */
import { CatalogueError } from '../domain/errors.js';
import type { HeldReplica } from '../domain/held-replica.js';
import type { RecordStore } from '../ports/replica-store.js';
import { inParallel } from '../concurrency/in-parallel.js';
import { readDescription, readVaultState } from './replica-state.js';
import { vaultVms } from './vault-survey.js';

const ASKED_AT_ONCE = 8;

/**
 * By name. A damaged replica counts as one that needs attention. @param except VMs to leave out. @throws CatalogueError
 * StoreUnreachable
 */
export async function heldReplicas(store: RecordStore, except: readonly string[] = []): Promise<HeldReplica[]> {
  const held = new Map<string, HeldReplica>();
  const vms = (await vaultVms(store)).filter((vm) => !except.includes(vm));
  await inParallel(vms, ASKED_AT_ONCE, async (vm) => {
    const description = await unlessDamaged(readDescription(store, vm));
    const state = await unlessDamaged(readVaultState(store, vm));
    const asProtected =
      description === 'damaged' || (description !== undefined && description.unprotectedAt === undefined);
    held.set(vm, { vm, asProtected, ...(state && state !== 'damaged' && { state }) });
  });
  return vms.flatMap((vm) => held.get(vm) ?? []);
}

const unlessDamaged = <T>(read: Promise<T>): Promise<T | 'damaged'> =>
  read.catch((error: unknown) => {
    if (error instanceof CatalogueError && error.code === 'InvalidReplicaState') return 'damaged' as const;
    throw error;
  });
