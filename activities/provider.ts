/** Activities of the Provider, on the VMM server: inventory, prerequisites, VM power, networks. */
import { CatalogueError } from '../domain/errors.js';
import { osDiskOf, replicaNetworkOf, type Site, type SiteVm } from '../domain/site.js';
import { alignUp } from '../domain/ranges.js';
import type { ReplicaDescription } from '../domain/vault.js';
import type { Hypervisor } from '../sites/ports.js';
import { classified } from './failures.js';

export interface ProviderDeps {
  readonly site: Site;
  readonly vmmServer: string;
  hypervisorOf(host: string): Hypervisor;
}

const MiB = 1024 * 1024;
const GiB = 1024 * MiB;
/** Limits of what the recovery side can run. */
const MAX_OS_DISK_BYTES = 2_048 * GiB;
const MAX_DATA_DISK_BYTES = 4_095 * GiB;
const MAX_DATA_DISKS = 16;

export type ProviderActivities = ReturnType<typeof createProviderActivities>;

export function createProviderActivities(deps: ProviderDeps) {
  const find = (name: string): SiteVm => {
    const vm = deps.site.vms.find((candidate) => candidate.name === name);
    if (!vm) throw new CatalogueError('VmNotFound', `${name} is not in the inventory of VMM server ${deps.vmmServer}`);
    return vm;
  };
  const hypervisorOfVm = (name: string) => deps.hypervisorOf(find(name).host);
  return classified({
    /**
     * Checks the VM against what the recovery side can run.
     * @returns the description of the replica VM, without epoch.
     */
    async checkProtectable({ vm: name }: { vm: string }): Promise<Omit<ReplicaDescription, 'epoch'>> {
      const vm = find(name);
      const found = await deps.hypervisorOf(vm.host).describeVm(name);
      if (found.failure) throw new CatalogueError(found.failure.code, found.failure.detail);
      const osDisk = osDiskOf(vm).name;
      const disks = found.disks.filter(({ excluded }) => !excluded);
      const problems = limitsExceeded(disks, osDisk);
      if (problems.length > 0) throw new CatalogueError('PrerequisitesNotMet', `${name}: ${problems.join('; ')}`);
      return {
        vm: name,
        host: vm.host,
        vmmServer: deps.vmmServer,
        generation: vm.generation,
        size: vm.replica.size,
        osDisk,
        disks: disks.map((disk) => ({ name: disk.name, size: disk.size, replicaSize: alignUp(disk.size, MiB) })),
        networkAdapters: adaptersOf(deps.site, vm),
        finalized: false,
      };
    },

    /** The interfaces of the replica VM as the network mappings are now. */
    async resolveNetworks({ vm: name }: { vm: string }): Promise<ReplicaDescription['networkAdapters']> {
      return adaptersOf(deps.site, find(name));
    },

    /** Is the source VM in a state from which it can be failed over? */
    async checkFailoverSource({ vm, epoch }: { vm: string; epoch: number }): Promise<void> {
      const found = await hypervisorOfVm(vm).describeVm(vm);
      if (found.failure) throw new CatalogueError(found.failure.code, found.failure.detail);
      if (found.tracking?.resyncCause !== undefined)
        throw new CatalogueError('ResyncRequired', found.tracking.resyncCause);
      if (found.tracking?.epoch !== epoch) {
        throw new CatalogueError(
          'InvalidVmState',
          `${vm} is tracked under epoch ${found.tracking?.epoch ?? 'none'}, expected ${epoch}`,
        );
      }
      if (found.snapshot !== undefined)
        throw new CatalogueError('MergeUnfinished', `snapshot ${found.snapshot} of ${vm}`);
    },

    /** Closes the exports of all disks; resolves when everything in flight is on disk. */
    async shutDownVm({ vm }: { vm: string }): Promise<{ exportsClosedAt: string }> {
      return hypervisorOfVm(vm).shutDownVm(vm);
    },

    /** @throws StaleEpoch when the VM runs elsewhere under a newer epoch. */
    async startVm({ vm, epoch }: { vm: string; epoch: number }): Promise<void> {
      await hypervisorOfVm(vm).startVm(vm, epoch);
    },

    /** From now on the VM can't be started at the primary site under an older epoch. */
    async fenceVm({ vm, epoch }: { vm: string; epoch: number }): Promise<void> {
      await hypervisorOfVm(vm).fenceVm(vm, epoch);
    },

    /** Asks the hypervisor for what it knows, so that job and hypervisor agree before the job ends. */
    async updateProviderState({ vm, epoch }: { vm: string; epoch: number }): Promise<void> {
      const { tracking } = await hypervisorOfVm(vm).describeVm(vm);
      if (tracking?.epoch !== epoch) {
        throw new CatalogueError('InvalidVmState', `${vm} is not tracked under epoch ${epoch}`);
      }
    },
  });
}

function limitsExceeded(disks: readonly { name: string; size: number }[], osDisk: string): string[] {
  const problems: string[] = [];
  for (const disk of disks) {
    const limit = disk.name === osDisk ? MAX_OS_DISK_BYTES : MAX_DATA_DISK_BYTES;
    if (disk.size > limit) problems.push(`disk ${disk.name} has ${disk.size} bytes, at most ${limit} are supported`);
  }
  if (disks.length - 1 > MAX_DATA_DISKS) {
    problems.push(`${disks.length - 1} data disks, at most ${MAX_DATA_DISKS} are supported`);
  }
  return problems;
}

function adaptersOf(site: Site, vm: SiteVm): ReplicaDescription['networkAdapters'] {
  return vm.networkAdapters.map((adapter) => {
    const target = replicaNetworkOf(site, adapter.vmNetwork);
    if (!target) {
      throw new CatalogueError(
        'PrerequisitesNotMet',
        `network adapter ${adapter.name} of ${vm.name}: VM network ${adapter.vmNetwork} is not mapped`,
      );
    }
    return { name: adapter.name, ...target };
  });
}
