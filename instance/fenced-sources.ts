/**
 * VMs that run at the recovery site according to the vault must not also start at the primary site. A hypervisor that
 * was told so remembers it. One that lost its state, or was down at that time, is told before it starts.
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
 * No hypervisor of these VMs may be running.
 * @returns the VMs that were fenced only now. @throws the errno of the file system.
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
    // Its hypervisor refuses to start it while its state is unknown.
    if (file.failure) continue;
    if (file.current.fencedEpoch >= state.epoch) continue;
    await file.change((now) => ({ ...now, power: 'Off', fencedEpoch: state.epoch }));
    told.push(vm);
  }
  return told;
}

/**
 * For a hypervisor that starts by itself. Change logs beside the disks of a VM that it does not know show that its
 * state was lost. Unless the vault holds that VM, it is unknown where the VM runs, so it stays off.
 * @param held undefined if the store does not answer.
 * @throws CatalogueError InvalidVmState while another process is the hypervisor of the host; the errno of the file
 * system.
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
