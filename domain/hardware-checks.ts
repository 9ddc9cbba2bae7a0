/** Finds contradictions in the hardware that a site file describes. */
import { macAddressOf } from './hardware.js';
import { busOf, firmwareOf, osDiskOf, type Finding, type Site, type SiteVm } from './site.js';

/** A VM has two IDE controllers with two disks each. */
const MOST_IDE_DISKS = 4;

type VmPath = readonly ['vms', number];

export function* hardwareProblems(site: Site): Generator<Finding> {
  const owners = new Map<string, string>();
  for (const [v, vm] of site.vms.entries()) {
    const path: VmPath = ['vms', v];
    yield* firmwareProblems(vm, path);
    yield* busProblems(vm, path);
    for (const [a, { name, macAddress }] of vm.networkAdapters.entries()) {
      if (macAddress === undefined) continue;
      const address = macAddressOf(macAddress);
      const owner = owners.get(address);
      if (owner !== undefined) {
        yield {
          path: [...path, 'networkAdapters', a, 'macAddress'],
          message: `${owner} has this MAC address`,
          remedy: 'give each adapter one of its own, or leave it out',
        };
      }
      owners.set(address, `${vm.name}/${name}`);
    }
  }
}

function* firmwareProblems(vm: SiteVm, path: VmPath): Generator<Finding> {
  const fitting = vm.generation === 1 ? 'BIOS' : 'UEFI';
  if (firmwareOf(vm) !== fitting) {
    yield {
      path: [...path, 'hardware', 'firmware'],
      message: `a VM of generation ${vm.generation} has ${fitting}`,
      remedy: `leave it out, or correct the VM's generation: ${3 - vm.generation}`,
    };
  } else if (vm.hardware.secureBoot && fitting === 'BIOS') {
    yield {
      path: [...path, 'hardware', 'secureBoot'],
      message: 'a VM with BIOS has no secure boot',
      remedy: "leave it out, or correct the VM's generation: 2",
    };
  }
}

function* busProblems(vm: SiteVm, path: VmPath): Generator<Finding> {
  const onIde = vm.disks.filter((disk) => busOf(vm, disk) === 'IDE');
  for (const [d, disk] of vm.disks.entries()) {
    const problem = problemOfBus(vm, busOf(vm, disk), disk === osDiskOf(vm), onIde.indexOf(disk) >= MOST_IDE_DISKS);
    if (problem) yield { path: [...path, 'disks', d, ...(disk.bus ? ['bus'] : [])], ...problem };
  }
}

function problemOfBus(
  { generation }: SiteVm,
  bus: 'IDE' | 'SCSI',
  boots: boolean,
  isTooMany: boolean,
): Omit<Finding, 'path'> | undefined {
  if (generation === 2 && bus === 'IDE') {
    const remedy = "write SCSI, or correct the VM's generation: 1";
    return { message: 'a VM of generation 2 has no IDE controller', remedy };
  }
  if (generation === 1 && boots && bus === 'SCSI') {
    return { message: 'a VM of generation 1 boots from an IDE disk', remedy: 'write IDE, or leave it out' };
  }
  if (!isTooMany) return undefined;
  return { message: `a VM has ${MOST_IDE_DISKS} IDE disks at most`, remedy: 'write SCSI, or leave it out' };
}
