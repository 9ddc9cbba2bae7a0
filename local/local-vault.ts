/** Access to the replica store for commands, in parallel with the workers or when everything else is gone. */
import type { HeldReplica } from '../domain/held-replica.js';
import type { Job } from '../domain/job.js';
import type { Site } from '../domain/site.js';
import type { StoreAddress } from '../domain/store-address.js';
import { ExportRefused } from '../replication/export-folder.js';
import { exportPoint, type Exported, type ExportTask } from '../replication/export-point.js';
import { heldReplicas } from '../replication/held-replicas.js';
import { holdersOfPoints, type PointHolder } from '../replication/point-holders.js';
import { readRecoveryState, type KnownRecoveryState } from '../replication/recovery-target.js';
import { jobRecord, jobRecords, surveyVault, type UnreadableVm, type VaultVm } from '../replication/vault-survey.js';
import { liesInStore } from '../config/lies-in-store.js';
import { withReplicaStore } from './open-replica-store.js';

export { ExportRefused };
export type { PointHolder };
export type { UnreadableVm, VaultVm } from '../replication/vault-survey.js';

/**
 * @param vault the vault that must own the store; any vault if left out. @throws CatalogueError StoreUnreachable,
 * ForeignVault
 */
export const readVault = (
  address: StoreAddress,
  vault?: string,
): Promise<{ vms: VaultVm[]; unreadable: UnreadableVm[] }> =>
  withReplicaStore(address, surveyVault, vault === undefined ? {} : { vault });

/** @param except VMs to leave out. @throws CatalogueError StoreUnreachable, ForeignVault */
export const readHeldReplicas = ({ store, name }: Site['vault'], except: readonly string[]): Promise<HeldReplica[]> =>
  withReplicaStore(store, (opened) => heldReplicas(opened, except), { vault: name });

/** @throws CatalogueError StoreUnreachable, ForeignVault */
export const requireStore = ({ store, name }: Site['vault']): Promise<void> =>
  withReplicaStore(store, () => Promise.resolve(), { vault: name });

/** Records of finished jobs, the newest first. */
export const readJobRecords = (address: StoreAddress, limit: number): Promise<Job[]> =>
  withReplicaStore(address, (store) => jobRecords(store, limit));

/** Undefined if the vault has no record of the job. */
export const readJobRecord = (address: StoreAddress, id: string): Promise<Job | undefined> =>
  withReplicaStore(address, (store) => jobRecord(store, id));

/** What the vault keeps of test VMs, by name; an object that is missing is left out. */
export const readEvidence = (address: StoreAddress, names: readonly string[]): Promise<ReadonlyMap<string, Buffer>> =>
  withReplicaStore(address, async ({ objects }) => {
    const found = new Map<string, Buffer>();
    for (const name of names) {
      const data = await objects.get(name);
      if (data) found.set(name, data);
    }
    return found;
  });

/**
 * The recovery points of a VM, oldest first, and what holds them; undefined if the store has no replica of it.
 * @throws CatalogueError StoreUnreachable
 */
export const readPoints = (
  address: StoreAddress,
  vm: string,
): Promise<
  | (Pick<KnownRecoveryState, 'points' | 'damaged'> & {
      readonly holders: ReadonlyMap<string, readonly PointHolder[]>;
    })
  | undefined
> =>
  withReplicaStore(address, async (store) => {
    // Read first: a point that is held then is still there.
    const holders = await holdersOfPoints(store, vm);
    const recovery = await readRecoveryState(store, vm);
    return recovery && { points: recovery.points, damaged: recovery.damaged, holders };
  });

/** See `exportPoint`. */
export async function exportFromVault(address: StoreAddress, task: ExportTask): Promise<Exported> {
  if (await liesInStore(address, task.folder))
    throw new ExportRefused(`${task.folder} is inside the replica store; export to a folder outside it`);
  return await withReplicaStore(address, (store) => exportPoint(store, task));
}
