/** The vault's records about a replica: who may write, what it is a replica of, and how far it has come. */
import { CatalogueError } from '../domain/errors.js';
import { formatFence, type Fence } from '../domain/fence.js';
import { policySchema, type Policy } from '../domain/policy.js';
import {
  appliedStateSchema,
  replicaDescriptionSchema,
  vaultStateSchema,
  vaultPaths,
  type AppliedState,
  type ReplicaDescription,
  type VaultState,
} from '../domain/vault.js';
import type { WriteFence } from '../ports/objects.js';
import type { RecordStore } from '../ports/replica-store.js';
import { mendKept, noCopy, putKept, readKept } from './kept-record.js';
import { encodeRecord } from './vault-record.js';

export const vmFence = (vm: string, fence: Fence): WriteFence => ({
  scope: vaultPaths.vm(vm),
  epoch: fence.epoch,
  sequence: fence.sequence,
});

/**
 * The current fence of a VM, for work that any holder of the epoch may do.
 * @throws CatalogueError StaleEpoch if a newer epoch has taken over, ReplicaMissing if this epoch has not begun in the
 * store.
 */
export async function fenceOfEpoch(store: RecordStore, vm: string, epoch: number): Promise<WriteFence> {
  const fence = await store.objects.readFence(vaultPaths.vm(vm));
  if (fence.epoch === epoch) return vmFence(vm, fence);
  const detail = `${vm}: asked for epoch ${epoch}, the store is at ${formatFence(fence)}`;
  throw new CatalogueError(fence.epoch > epoch ? 'StaleEpoch' : 'ReplicaMissing', detail);
}

export const readDescription = (store: RecordStore, vm: string): Promise<ReplicaDescription | undefined> =>
  readKept(store.objects, vaultPaths.description(vm), replicaDescriptionSchema);

/** Replaces the description with changes of a protected VM. Other disks require a new epoch. */
export const writeDescription = (store: RecordStore, description: ReplicaDescription, fence: Fence): Promise<void> =>
  putKept(
    store.objects,
    vaultPaths.description(description.vm),
    encodeRecord(replicaDescriptionSchema, description),
    vmFence(description.vm, fence),
  );

/** Restores a damaged or missing copy of it from the other one. @throws CatalogueError StaleEpoch */
export async function mendDescription(store: RecordStore, vm: string, fence: Fence): Promise<void> {
  await mendKept(store.objects, vaultPaths.description(vm), replicaDescriptionSchema, vmFence(vm, fence));
}

/**
 * @throws CatalogueError StaleEpoch if the replica has a newer epoch, ReplicaMissing if there is none or it has an
 * older one.
 */
export async function descriptionOfEpoch(store: RecordStore, vm: string, epoch: number): Promise<ReplicaDescription> {
  const description = await readDescription(store, vm);
  if (description?.epoch === epoch && description.vm === vm) return description;
  const found = description ? `a replica of ${description.vm}, epoch ${description.epoch}` : 'no replica';
  throw new CatalogueError(
    description && description.epoch > epoch ? 'StaleEpoch' : 'ReplicaMissing',
    `${vm}: expected a replica of epoch ${epoch}, found ${found}`,
  );
}

/** @throws CatalogueError InvalidReplicaState */
export function describedDisk(description: ReplicaDescription, disk: string): ReplicaDescription['disks'][number] {
  const found = description.disks.find((one) => one.name === disk);
  if (found) return found;
  throw new CatalogueError('InvalidReplicaState', `${description.vm}: the replica has no disk ${disk}`);
}

/** The newest cycle that every replica disk holds, in any epoch. @throws CatalogueError InvalidReplicaState */
export const readApplied = (store: RecordStore, vm: string): Promise<AppliedState | undefined> =>
  readKept(store.objects, vaultPaths.applied(vm), appliedStateSchema);

/** The policy with which the VM was last replicated; undefined if no cycle has recorded one. */
export const readPolicy = (store: RecordStore, vm: string): Promise<Policy | undefined> =>
  readKept(store.objects, vaultPaths.policy(vm), policySchema);

/** Writes the policy if it differs from the recorded one. */
export async function keepPolicy(store: RecordStore, vm: string, policy: Policy, fence: Fence): Promise<void> {
  const record = encodeRecord(policySchema, policy);
  const name = vaultPaths.policy(vm);
  const there = await Promise.all([name, vaultPaths.second(name)].map((copy) => store.objects.get(copy).catch(noCopy)));
  if (there.every((copy) => copy?.equals(record))) return;
  await putKept(store.objects, name, record, vmFence(vm, fence));
}

/** The last record of where the VM runs, in any epoch: a running replica VM belongs to this failover. */
export const readNotedState = (store: RecordStore, vm: string): Promise<VaultState | undefined> =>
  readKept(store.objects, vaultPaths.state(vm), vaultStateSchema);

/**
 * Where the VM runs, unless a newer epoch has begun since that was recorded; undefined: at the primary site. Jobs that begin
 * an epoch in which the VM still runs at the recovery site record that just before.
 */
export async function readVaultState(store: RecordStore, vm: string): Promise<VaultState | undefined> {
  const state = await readNotedState(store, vm);
  const fence = await store.objects.readFence(vaultPaths.vm(vm));
  return state && state.epoch >= fence.epoch ? state : undefined;
}

/**
 * An epoch higher than any that the store has seen. An attempt that ended early may have recorded where the VM runs
 * under its epoch without raising the fence.
 */
export async function nextEpoch(store: RecordStore, vm: string): Promise<number> {
  const state = await readNotedState(store, vm);
  const fence = await store.objects.readFence(vaultPaths.vm(vm));
  return Math.max(fence.epoch, state?.epoch ?? 0) + 1;
}

/** Undefined if the fence is damaged: the data can still be read. */
export async function readFenceIfWhole(store: RecordStore, vm: string): Promise<Fence | undefined> {
  try {
    return await store.objects.readFence(vaultPaths.vm(vm));
  } catch (error) {
    if (error instanceof CatalogueError && error.code === 'InvalidReplicaState') return undefined;
    throw error;
  }
}

/** @throws CatalogueError StaleEpoch if a newer epoch has taken over. */
export const writeVaultState = (store: RecordStore, vm: string, state: VaultState): Promise<void> =>
  putKept(
    store.objects,
    vaultPaths.state(vm),
    encodeRecord(vaultStateSchema, state),
    vmFence(vm, { epoch: state.epoch, sequence: 0 }),
  );
