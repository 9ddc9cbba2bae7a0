/** Tells whether a VM is replicated from what this machine stores, without a running hypervisor. */
import type { SiteVm } from '../../domain/site.js';
import { hasLogOf } from '../../tracking/tracker-log-files.js';
import { readJson, vmStateSchema } from './vm-state-file.js';

/**
 * Looks in the hypervisor's state file, which may have been lost; an unreadable file counts as no.
 * @param stateFile of the VM.
 */
export async function isRememberedAsReplicated(stateFile: string): Promise<boolean> {
  const state = await readJson(stateFile, vmStateSchema).catch(() => undefined);
  return state !== undefined && state.replicatedEpoch > 0;
}

/**
 * Looks for change logs beside the VM's disks; they are deleted when its protection ends. An unreadable log counts as
 * none.
 */
export async function isTracked({ name, disks }: Pick<SiteVm, 'name' | 'disks'>): Promise<boolean> {
  const tracked = await Promise.all(disks.map((disk) => hasLogOf(name, disk).catch(() => false)));
  return tracked.includes(true);
}
