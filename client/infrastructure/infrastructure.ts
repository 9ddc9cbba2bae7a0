/** What the vault, its servers, clouds, hosts, VMs and networks are, and which of them are alive: pure. */
import type { Health } from '../../domain/health.js';
import { viewOf } from '../../domain/item-view.js';
import { taskQueues } from '../../domain/ids.js';
import type { ProtectedItem } from '../../domain/protected-item.js';
import { replicaNetworkOf, type Site, type SiteVm } from '../../domain/site.js';
import { secondsBetween } from '../../domain/time.js';
import type { HypervisorVm } from '../../workers/local-site.js';

/** What was found out, at one instant. */
export interface Facts {
  /** ISO 8601. */
  readonly at: string;
  /** By task queue: when a worker has asked for work last. ISO 8601. */
  readonly seen: ReadonlyMap<string, string>;
  /** By VM. */
  readonly items: ReadonlyMap<string, ProtectedItem>;
  /** By host; a hypervisor that does not answer here is not in it. */
  readonly hypervisors: ReadonlyMap<string, readonly HypervisorVm[]>;
  /** Undefined: the recovery compute does not answer here. */
  readonly replicaVms: number | undefined;
  /** Can the store be opened here? */
  readonly storeAnswers: boolean;
}

/**
 * `working`: it has asked for work just now. `silent`: it did, and does not any more. `unknown`: the server remembers none
 * (after five minutes of silence it forgets).
 */
export interface WorkerState {
  readonly state: 'working' | 'silent' | 'unknown';
  readonly seenAt?: string;
}

/** A worker asks again after 70 seconds at most, s. */
const SILENT_AFTER = 90;

export function infrastructureOf(site: Site, facts: Facts) {
  const worker = (queue: string): WorkerState => workerState(facts.seen.get(queue), facts.at);
  const { vault } = site;
  return {
    vault: {
      name: vault.name,
      store: { ...vault.store, answers: facts.storeAnswers },
      worker: worker(taskQueues.azure(vault.name)),
      recoveryCompute: {
        answers: facts.replicaVms !== undefined,
        ...(facts.replicaVms !== undefined && { vms: facts.replicaVms }),
      },
      networks: site.azureNetworks,
    },
    vmmServers: site.vmmServers.map(({ name, clouds, logicalNetworks, vmNetworks }) => ({
      name,
      provider: worker(taskQueues.vmm(name)),
      logicalNetworks: logicalNetworks.map((network) => network.name),
      vmNetworks: vmNetworks.map((network) => ({ ...network, mappedTo: replicaNetworkOf(site, network.name) })),
      clouds: clouds.map((cloud) => ({
        name: cloud.name,
        logicalNetworks: cloud.logicalNetworks,
        hosts: cloud.hosts.map((host) => {
          const known = facts.hypervisors.get(host.name);
          return {
            name: host.name,
            agent: worker(taskQueues.host(host.name)),
            hypervisor: { answers: known !== undefined },
            vms: site.vms
              .filter((vm) => vm.host === host.name)
              .map((vm) =>
                vmOf(
                  site,
                  vm,
                  known?.find((each) => each.name === vm.name),
                  facts,
                ),
              ),
          };
        }),
      })),
    })),
  };
}

export type Infrastructure = ReturnType<typeof infrastructureOf>;
export type InfrastructureVm = Infrastructure['vmmServers'][number]['clouds'][number]['hosts'][number]['vms'][number];

function workerState(seenAt: string | undefined, at: string): WorkerState {
  if (seenAt === undefined) return { state: 'unknown' };
  return { state: secondsBetween(seenAt, at) > SILENT_AFTER ? 'silent' : 'working', seenAt };
}

function vmOf(site: Site, vm: SiteVm, known: HypervisorVm | undefined, { items, at }: Facts) {
  const item = items.get(vm.name);
  const health: Health | undefined = item && item.phase !== 'Unprotected' ? viewOf(item, at).health : undefined;
  return {
    name: vm.name,
    generation: vm.generation,
    phase: item?.phase ?? ('Unprotected' as const),
    ...(health && { health }),
    /** Of the source VM. */
    ...(known && { power: known.state }),
    disks: vm.disks.map(({ name, format, path, size, excluded }) => {
      const bytes = known?.disks.find((disk) => disk.name === name)?.size ?? size;
      return { name, format, path, excluded, ...(bytes !== undefined && { size: bytes }) };
    }),
    networkAdapters: vm.networkAdapters.map(({ name, vmNetwork }) => ({
      name,
      vmNetwork,
      replica: replicaNetworkOf(site, vmNetwork),
    })),
  };
}
