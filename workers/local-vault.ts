/** The replica store for somebody who comes beside the workers, or when all else is gone. */
import type { StoreAddress } from '../domain/store-address.js';
import { ExportRefused, exportPoint, type Exported, type ExportTask } from '../replication/export-point.js';
import { readDescription } from '../replication/replica-state.js';
import { surveyVault, type UnreadableVm, type VaultVm } from '../replication/vault-survey.js';
import { liesInStore, withReplicaStore } from './replica-store.js';

export { ExportRefused };
export type { UnreadableVm, VaultVm } from '../replication/vault-survey.js';

/** @throws CatalogueError StoreUnreachable */
export const readVault = (address: StoreAddress): Promise<{ vms: VaultVm[]; unreadable: UnreadableVm[] }> =>
  withReplicaStore(address, surveyVault);

/**
 * Those of the VMs whose replica the vault holds as protected.
 * @throws CatalogueError StoreUnreachable
 */
export const protectedInVault = (address: StoreAddress, vms: readonly string[]): Promise<string[]> =>
  withReplicaStore(address, async (store) => {
    const described = await Promise.all(vms.map((vm) => readDescription(store, vm)));
    return vms.filter((_, index) => described[index] && described[index].unprotectedAt === undefined);
  });

/** See `exportPoint`. */
export async function exportFromVault(address: StoreAddress, task: ExportTask): Promise<Exported> {
  if (await liesInStore(address, task.folder)) throw new ExportRefused(`${task.folder} is in the replica store itself`);
  return await withReplicaStore(address, (store) => exportPoint(store, task));
}
