/** Activities of the Provider, on the VMM server: inventory, prerequisites, VM power, networks. */
import { exceededLimits } from '../domain/disk-limits.js';
import { CatalogueError } from '../domain/errors.js';
import type { Hardware } from '../domain/hardware.js';
import type { LocatedVm } from '../domain/host.js';
import { hostsOf, osDiskOf, replicaNetworkOf, vmmServerOf, type Site, type SiteVm } from '../domain/site.js';
import { alignUp } from '../domain/ranges.js';
import type { ReplicaDescription } from '../domain/vault.js';
import type { Hypervisor } from '../ports/hypervisor.js';
import { classified } from './failures.js';

export interface SourceFabricDeps {
  readonly site: Site;
  readonly vmmServer: string;
  hypervisorOf(host: string): Hypervisor;
}

export interface FencedVm {
  /** Runs until it is shut down. */
  readonly isRunning: boolean;
}

const MiB = 1024 * 1024;

export type SourceFabricActivities = ReturnType<typeof createSourceFabricActivities>;

export function createSourceFabricActivities(deps: SourceFabricDeps) {
  const { site, vmmServer } = deps;
  const find = (name: string): SiteVm => {
    const vm = site.vms.find((candidate) => candidate.name === name);
    if (!vm) throw new CatalogueError('VmNotFound', `${name} is not in the inventory of VMM server ${vmmServer}`);
    return vm;
  };
  const hosts = hostsOf(site)
    .map(({ name }) => name)
    .filter((host) => vmmServerOf(site, host) === vmmServer);

  /**
   * Asks the hosts, beginning with `first`: the site file may be out of date. @returns undefined if no host that
   * answers has the VM.
   */
  const locate = async (name: string, first: readonly string[]) => {
    const unreachable: CatalogueError[] = [];
    for (const host of new Set([...first, ...hosts])) {
      try {
        return { host, vm: await deps.hypervisorOf(host).describeVm(name), unreachable };
      } catch (error) {
        if (!(error instanceof CatalogueError)) throw error;
        if (error.code === 'HypervisorUnreachable') unreachable.push(error);
        else if (error.code !== 'VmNotFound') throw error;
      }
    }
    return { unreachable };
  };

  /** @throws CatalogueError HypervisorUnreachable if a host that may have the VM does not answer; VmNotFound. */
  const describe = async (name: string) => {
    const { host, vm, unreachable } = await locate(name, [find(name).host]);
    if (vm) return { host, vm };
    if (unreachable[0]) throw unreachable[0];
    throw new CatalogueError('VmNotFound', `${name} was not found on any host of VMM server ${vmmServer}`);
  };
  const hypervisorOfVm = async (name: string) => deps.hypervisorOf((await describe(name)).host);
  return classified({
    /**
     * Which host has the VM now? @param input.host the host it was on, which is asked first.
     * @returns undefined if no host that answers has the VM.
     */
    async locateVm({ vm: name, host: before }: { vm: string; host: string }): Promise<LocatedVm | undefined> {
      const { host, vm } = await locate(name, hosts.includes(before) ? [before] : []);
      if (!vm) return undefined;
      const { tracking } = vm;
      const { epoch, resyncCause } = tracking ?? {};
      if (epoch === undefined) return { host };
      return { host, tracking: { epoch, ...(resyncCause !== undefined && { resyncCause }) } };
    },

    /**
     * Checks whether the recovery site can run the VM.
     * @returns the description of the replica VM, without its epoch.
     */
    async checkProtectable({ vm: name }: { vm: string }): Promise<Omit<ReplicaDescription, 'epoch'>> {
      const vm = find(name);
      const { host, vm: found } = await describe(name);
      if (found.failure) throw new CatalogueError(found.failure.code, found.failure.detail);
      const osDisk = osDiskOf(vm).name;
      const disks = found.disks.filter(({ excluded }) => !excluded);
      const problems = exceededLimits(disks);
      if (problems.length > 0) throw new CatalogueError('PrerequisitesNotMet', `${name}: ${problems.join('; ')}`);
      return {
        vm: name,
        host,
        vmmServer,
        generation: vm.generation,
        size: vm.replica.size,
        osDisk,
        disks: disks.map((disk) => ({ name: disk.name, size: disk.size, replicaSize: alignUp(disk.size, MiB) })),
        networkAdapters: adaptersOf(site, vm),
        ...(found.hardware && { hardware: hardwareWith(found.hardware, disks) }),
        finalized: false,
      };
    },

    /** The network adapters of the replica VM according to the current network mappings. */
    async resolveNetworks({ vm: name }: { vm: string }): Promise<ReplicaDescription['networkAdapters']> {
      return adaptersOf(site, find(name));
    },

    /**
     * Can the source VM be failed over in its current state?
     * @returns a VM snapshot that was left behind; the caller has to merge it.
     */
    async checkFailoverSource({ vm, epoch }: { vm: string; epoch: number }): Promise<{ snapshot?: string }> {
      const { vm: found } = await describe(vm);
      if (found.failure) throw new CatalogueError(found.failure.code, found.failure.detail);
      if (found.tracking?.resyncCause !== undefined)
        throw new CatalogueError('ResyncRequired', found.tracking.resyncCause);
      if (found.tracking?.epoch !== epoch) {
        throw new CatalogueError(
          'InvalidVmState',
          `${vm} is tracked under epoch ${found.tracking?.epoch ?? 'none'}, expected ${epoch}`,
        );
      }
      return found.snapshot === undefined ? {} : { snapshot: found.snapshot };
    },

    /** Can the VM run at the primary site again? @returns its host, and whether it runs there already. */
    async checkReturn({ vm: name }: { vm: string }): Promise<{ host: string; isRunning: boolean }> {
      const { host, vm } = await describe(name);
      if (vm.failure) throw new CatalogueError(vm.failure.code, vm.failure.detail);
      return { host, isRunning: vm.state === 'Running' };
    },

    /** Closes the exports of all disks; resolves when all writes in flight are on disk. */
    async shutDownVm({ vm }: { vm: string }): Promise<{ exportsClosedAt: string }> {
      return (await hypervisorOfVm(vm)).shutDownVm(vm);
    },

    /** @throws StaleEpoch if the VM runs elsewhere under a newer epoch. */
    async startVm({ vm, epoch }: { vm: string; epoch: number }): Promise<void> {
      await (await hypervisorOfVm(vm)).startVm(vm, epoch);
    },

    /** From now on, the VM cannot be started at the primary site under an older epoch. */
    async fenceVm({ vm: name, epoch }: { vm: string; epoch: number }): Promise<FencedVm> {
      const { host, vm } = await describe(name);
      await deps.hypervisorOf(host).fenceVm(name, epoch);
      return { isRunning: vm.state === 'Running' };
    },

    /** Checks with the hypervisor, so that job and hypervisor agree before the job ends. */
    async updateProviderState({ vm, epoch }: { vm: string; epoch: number }): Promise<void> {
      const { tracking } = (await describe(vm)).vm;
      if (tracking?.epoch !== epoch) {
        throw new CatalogueError('InvalidVmState', `${vm} is not tracked under epoch ${epoch}`);
      }
    },
  });
}

/** Excluded disks are not part of the replica. */
const hardwareWith = (hardware: Hardware, disks: readonly { readonly name: string }[]): Hardware => ({
  ...hardware,
  disks: hardware.disks.filter(({ name }) => disks.some((disk) => disk.name === name)),
});

function adaptersOf(site: Site, vm: SiteVm): ReplicaDescription['networkAdapters'] {
  return vm.networkAdapters.map((adapter) => {
    const target = replicaNetworkOf(site, adapter.vmNetwork);
    if (!target) {
      throw new CatalogueError(
        'PrerequisitesNotMet',
        `network adapter ${adapter.name} of ${vm.name}: VM network ${adapter.vmNetwork} has no mapping`,
      );
    }
    return { name: adapter.name, ...target };
  });
}
