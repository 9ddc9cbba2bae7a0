/**
 * VMs that the vault says run at the recovery site must not start at the primary site as well. A hypervisor that was told so
 * knows; one whose memory was lost, or that was not there to be told, is told before it starts.
 */
import { mkdir } from 'node:fs/promises';
import path from 'node:path';
import type { HeldReplica } from '../domain/held-replica.js';
import type { Site } from '../domain/site.js';
import { isThere } from '../disks/make-folder.js';
import { isTracked } from '../sites/hypervisor/replicated-vm.js';
import { lockStateFolder, VmStateFile } from '../sites/hypervisor/vm-state-file.js';
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
    const file = await stateFile(data, host, vm);
    // Its hypervisor refuses it as long as nothing is known of it.
    if (file.failure) continue;
    if (file.current.fencedEpoch >= state.epoch) continue;
    await file.change((now) => ({ ...now, power: 'Off', fencedEpoch: state.epoch }));
    told.push(vm);
  }
  return told;
}

/**
 * For a hypervisor that is about to start by itself. Change logs beside the disks of a VM that it knows nothing of say that
 * its memory was lost: unless the vault holds that VM, nobody can say where it runs, and it stays off.
 * @param held undefined: the store does not answer.
 * @throws CatalogueError InvalidVmState while another process is the hypervisor of the host; the errno of the file system.
 */
export async function fenceHost(
  site: Pick<Site, 'vms'>,
  host: string,
  data: DataFolder,
  held: readonly HeldReplica[] | undefined,
): Promise<{ readonly fenced: string[]; readonly unknown: string[] }> {
  const vms = site.vms.filter((vm) => vm.host === host);
  const lock = await lockStateFolder(data.hypervisorState(host));
  try {
    const unknown: string[] = [];
    for (const vm of vms) {
      if (held?.some((each) => each.vm === vm.name)) continue;
      if ((await isThere(stateFilePath(data, host, vm.name))) || !(await isTracked(vm))) continue;
      const file = await stateFile(data, host, vm.name);
      await file.change((now) => ({ ...now, power: 'Off' }));
      unknown.push(vm.name);
    }
    return { fenced: await fenceSources({ vms }, data, held ?? []), unknown };
  } finally {
    await lock.close();
  }
}

const stateFilePath = (data: DataFolder, host: string, vm: string): string =>
  path.join(data.hypervisorState(host), `${vm}.json`);

async function stateFile(data: DataFolder, host: string, vm: string): Promise<VmStateFile> {
  await mkdir(data.hypervisorState(host), { recursive: true, mode: 0o700 });
  return await VmStateFile.open(vm, stateFilePath(data, host, vm));
}
