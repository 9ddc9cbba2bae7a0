/** Brings the disks of a protected VM to rest, at both sites, so that they can be compared. */
import type { HypervisorClient } from '../../sites/hypervisor/control-client.js';
import type { Farshore } from '../farshore.js';

/** Shuts the VM down at the primary site, and waits for the cycle with its last changes. */
export async function bringToRest(farshore: Farshore, hypervisor: HypervisorClient, vm: string): Promise<void> {
  await hypervisor.shutDownVm(vm);
  const { sequence } = await farshore.sync(vm);
  await farshore.followVm(vm, (view) => (view?.item.applied?.sequence ?? 0) >= sequence);
}
