/**
 * VMs that the vault says run at the recovery side must not start at the primary side as well. A hypervisor that was told so
 * knows; one whose memory was lost, or that was not there to be told, is told before it starts.
 */
import { mkdir } from 'node:fs/promises';
import path from 'node:path';
import type { HeldReplica } from '../domain/held-replica.js';
import type { Site } from '../domain/site.js';
import { VmStateFile } from '../sites/hypervisor/vm-state-file.js';
import type { DataFolder } from '../config/data-folder.js';

/**
 * No hypervisor of these VMs may run.
 * @returns the VMs that were told only now. @throws the errno of the file system.
 */
export async function fenceSources(
  { vms }: Pick<Site, 'vms'>,
  data: DataFolder,
  held: readonly HeldReplica[],
): Promise<string[]> {
  const told: string[] = [];
  for (const { vm, state } of held) {
    const host = vms.find(({ name }) => name === vm)?.host;
    if (!state || host === undefined) continue;
    const folder = data.hypervisorState(host);
    await mkdir(folder, { recursive: true, mode: 0o700 });
    const file = await VmStateFile.open(vm, path.join(folder, `${vm}.json`));
    // Its hypervisor refuses it as long as nothing is known of it.
    if (file.failure) continue;
    if (file.current.fencedEpoch >= state.epoch) continue;
    await file.change((now) => ({ ...now, power: 'Off', fencedEpoch: state.epoch }));
    told.push(vm);
  }
  return told;
}
