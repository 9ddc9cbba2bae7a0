/** The replica store for somebody who comes beside the workers, or when all else is gone. */
import { isInside } from '../disks/inside-folder.js';
import { ExportRefused, exportPoint, type Exported, type ExportTask } from '../replication/export-point.js';
import { readDescription } from '../replication/replica-state.js';
import { surveyVault, type UnreadableVm, type VaultVm } from '../replication/vault-survey.js';
import { EmbeddedReplicaStore } from '../sites/embedded/replica-store.js';
import type { ReplicaStore } from '../sites/ports.js';

export { ExportRefused };
export type { UnreadableVm, VaultVm } from '../replication/vault-survey.js';

/** @param folder of the embedded store. @throws CatalogueError StoreUnreachable */
export const readVault = (folder: string): Promise<{ vms: VaultVm[]; unreadable: UnreadableVm[] }> =>
  withStore(folder, surveyVault);

/**
 * Those of the VMs whose replica the vault holds as protected.
 * @param folder of the embedded store. @throws CatalogueError StoreUnreachable
 */
export const protectedInVault = (folder: string, vms: readonly string[]): Promise<string[]> =>
  withStore(folder, async (store) => {
    const described = await Promise.all(vms.map((vm) => readDescription(store, vm)));
    return vms.filter((_, index) => described[index] && described[index].unprotectedAt === undefined);
  });

/** See `exportPoint`. @param folder of the embedded store. */
export async function exportFromVault(folder: string, task: ExportTask): Promise<Exported> {
  if (await isInside(folder, task.folder)) throw new ExportRefused(`${task.folder} is in the replica store itself`);
  return await withStore(folder, (store) => exportPoint(store, task));
}

async function withStore<T>(folder: string, work: (store: ReplicaStore) => Promise<T>): Promise<T> {
  const store = await EmbeddedReplicaStore.open(folder);
  try {
    return await work(store);
  } finally {
    await store.close();
  }
}
