/** The replica store for somebody who comes beside the workers, or when all else is gone. */
import { CatalogueError } from '../domain/errors.js';
import type { Job } from '../domain/job.js';
import type { Site } from '../domain/site.js';
import type { StoreAddress } from '../domain/store-address.js';
import { ExportRefused, exportPoint, type Exported, type ExportTask } from '../replication/export-point.js';
import { readDescription } from '../replication/replica-state.js';
import { jobRecord, jobRecords, surveyVault, type UnreadableVm, type VaultVm } from '../replication/vault-survey.js';
import type { ReplicaStore } from '../sites/ports.js';
import { liesInStore, withReplicaStore } from './replica-store.js';

export { ExportRefused };
export type { UnreadableVm, VaultVm } from '../replication/vault-survey.js';

/** @param vault whose store it has to be; anybody's without. @throws CatalogueError StoreUnreachable, ForeignVault */
export const readVault = (
  address: StoreAddress,
  vault?: string,
): Promise<{ vms: VaultVm[]; unreadable: UnreadableVm[] }> =>
  withReplicaStore(address, surveyVault, vault === undefined ? {} : { vault });

/**
 * Those of the VMs whose replica the vault holds as protected.
 * @throws CatalogueError StoreUnreachable, ForeignVault
 */
export const protectedInVault = ({ store, name }: Site['vault'], vms: readonly string[]): Promise<string[]> =>
  withReplicaStore(store, (opened) => keptOf(opened, vms), { vault: name });

async function keptOf(store: ReplicaStore, vms: readonly string[]): Promise<string[]> {
  // One whose record is damaged is one that somebody has to look after.
  const isKept = async (vm: string) => {
    const described = await readDescription(store, vm).catch((error: unknown) => {
      if (error instanceof CatalogueError && error.code === 'InvalidReplicaState') return 'damaged' as const;
      throw error;
    });
    return described === 'damaged' || (described !== undefined && described.unprotectedAt === undefined);
  };
  const kept = await Promise.all(vms.map(isKept));
  return vms.filter((_, index) => kept[index]);
}

/** Records of finished jobs, the newest first. */
export const readJobRecords = (address: StoreAddress, limit: number): Promise<Job[]> =>
  withReplicaStore(address, (store) => jobRecords(store, limit));

/** Undefined when the vault has no record of it. */
export const readJobRecord = (address: StoreAddress, id: string): Promise<Job | undefined> =>
  withReplicaStore(address, (store) => jobRecord(store, id));

/** See `exportPoint`. */
export async function exportFromVault(address: StoreAddress, task: ExportTask): Promise<Exported> {
  if (await liesInStore(address, task.folder)) throw new ExportRefused(`${task.folder} is in the replica store itself`);
  return await withReplicaStore(address, (store) => exportPoint(store, task));
}
