/** The configuration of the embedded hypervisors of a site, derived from the site file and the data folder. */
import { hardwareOf, type Site } from '../domain/site.js';
import { parseHypervisorConfig, type HypervisorConfig } from '../sites/hypervisor/hypervisor-config.js';
import type { DataFolder } from '../config/data-folder.js';

/**
 * For a host, with the VMs that the site file assigns to it. @throws Error if a socket's path is too long for the
 * system.
 */
export function hostConfig(site: Site, data: DataFolder, host: string): HypervisorConfig {
  const vms = site.vms
    .filter((vm) => vm.host === host)
    .map((vm) => ({
      name: vm.name,
      hardware: hardwareOf(vm),
      disks: vm.disks.map(({ name, path, format, excluded }) => ({
        ...{ name, path, excluded },
        ...(format && { format }),
      })),
      ...(vm.guestAgent !== undefined && { guestAgent: vm.guestAgent }),
      ...(vm.directBoot && { directBoot: vm.directBoot }),
      networks: Object.fromEntries(vm.networkAdapters.map(({ name, vmNetwork }) => [name, vmNetwork])),
    }));
  return parseHypervisorConfig(`the hypervisor of ${host}`, {
    stateFolder: data.hypervisorState(host),
    controlSocket: data.hypervisorControl(host),
    nbdSocketFolder: data.hypervisorNbd(host),
    vms,
    ...guestsOf(site, data, 'primary'),
  });
}

/** For the compute at the recovery site. @throws Error if a socket's path is too long for the system. */
export const recoveryConfig = (site: Site, data: DataFolder): HypervisorConfig =>
  parseHypervisorConfig('the recovery compute', {
    stateFolder: data.recoveryState(),
    controlSocket: data.recoveryControl(),
    nbdSocketFolder: data.recoveryNbd(),
    recovery: {
      store: site.vault.store,
      directBoots: Object.fromEntries(
        site.vms.flatMap(({ name, directBoot }) => (directBoot ? [[name, directBoot]] : [])),
      ),
    },
    ...guestsOf(site, data, 'recovery'),
  });

/** Both sides have networks of their own, as has each data folder. */
const guestsOf = ({ guests }: Site, data: DataFolder, side: 'primary' | 'recovery'): object =>
  guests === 'qemu'
    ? {
        guests: {
          qemu: process.env['FARSHORE_QEMU'] ?? 'qemu-system-x86_64',
          networkScope: `${data.path}/${side}`,
        },
      }
    : {};
