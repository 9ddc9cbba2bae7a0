/** What a machine knows of the replication of a VM while no hypervisor runs. */
import type { SiteVm } from '../../domain/site.js';
import { hasLogOf } from '../../tracking/tracker-log-files.js';
import { readJson, vmStateSchema } from './vm-state-file.js';

/** By the memory of its hypervisor, which may be lost. What can't be read says nothing. @param stateFile of the VM. */
export async function isRememberedAsReplicated(stateFile: string): Promise<boolean> {
  const state = await readJson(stateFile, vmStateSchema).catch(() => undefined);
  return state !== undefined && state.replicatedEpoch > 0;
}

/** By the change logs beside its disks, which are deleted with its protection. What can't be read says nothing. */
export async function isTracked({ name, disks }: Pick<SiteVm, 'name' | 'disks'>): Promise<boolean> {
  const tracked = await Promise.all(disks.map((disk) => hasLogOf(name, disk).catch(() => false)));
  return tracked.includes(true);
}
