/** The vault with its servers, clouds, hosts, VMs and networks, and which of them are alive. Pure. */
import { viewAmong } from '../../domain/board.js';
import type { Health } from '../../domain/health.js';
import type { HeldReplica } from '../../domain/held-replica.js';
import { commonSilences, silenceOf } from '../../domain/host-silence.js';
import { taskQueues } from '../../domain/ids.js';
import { isProtected, type ProtectedItem } from '../../domain/protected-item.js';
import { replicaNetworkOf, type Site, type SiteDisk, type SiteVm } from '../../domain/site.js';
import { formatStoreAddress } from '../../domain/store-address.js';
import { secondsBetween } from '../../domain/time.js';
import type { HypervisorVm } from '../../local/local-site.js';
import { POLLER_GONE_MS } from '../../temporal/pollers.js';
import type { Answer } from '../answers.js';

/** What was found at one instant. */
export interface Facts {
  /** ISO 8601. */
  readonly at: string;
  /** When a worker last polled each task queue, ISO 8601. */
  readonly seen: ReadonlyMap<string, string>;
  /** When each watched host was last heard, ISO 8601. */
  readonly heard: ReadonlyMap<string, string>;
  /** Keyed by VM name. */
  readonly items: ReadonlyMap<string, ProtectedItem>;
  /** The vault's replicas of VMs that are not protected. */
  readonly held: readonly HeldReplica[];
  /** Keyed by host; contains only hypervisors that answer here. */
  readonly hypervisors: ReadonlyMap<string, readonly HypervisorVm[]>;
  /** Undefined if the recovery compute does not answer here. */
  readonly replicaVms: ReadonlyMap<string, 'Running' | 'Off'> | undefined;
  /** Whether the store can be opened from here. */
  readonly storeAnswers: boolean;
}

/**
 * `working`: it polled just now. `silent`: it polled earlier, but no longer does. `unknown`: the server remembers no
 * worker (it forgets one after five minutes of silence). A worker that hangs, or has just died, still seems to poll for
 * a minute or more.
 */
export interface WorkerState {
  readonly state: 'working' | 'silent' | 'unknown';
  readonly seenAt?: string;
  /** It has answered a request; otherwise it is only known to poll. */
  readonly answered?: true;
  /** The server says that it polls, but the processes it works with do not answer. */
  readonly mayBeGone?: true;
}

const SILENT_AFTER = POLLER_GONE_MS / 1000;
/** An agent looks at its host every few seconds; after this time without a look it counts as silent, s. */
const UNHEARD_AFTER = 30;

export function infrastructureOf(site: Site, facts: Facts): Infrastructure {
  const worker = (queue: string): WorkerState => workerState(facts.seen.get(queue), facts.at);
  const { vault } = site;
  return {
    vault: {
      name: vault.name,
      store: formatStoreAddress(vault.store),
      storeKind: vault.store.kind,
      storeAnswers: facts.storeAnswers,
      worker: worker(taskQueues.azure(vault.name)),
      recoveryCompute: {
        answers: facts.replicaVms !== undefined,
        ...(facts.replicaVms && {
          vmCount: facts.replicaVms.size,
          vms: [...facts.replicaVms].map(([vm, power]) => ({ vm, power })),
        }),
      },
      networks: site.azureNetworks,
    },
    vmmServers: site.vmmServers.map(({ name, clouds, logicalNetworks, vmNetworks }) => ({
      name,
      provider: {
        ...worker(taskQueues.vmm(vault.name, name)),
        ...(isSuspect(name, facts) && { mayBeGone: true }),
      },
      logicalNetworks: logicalNetworks.map((network) => network.name),
      vmNetworks: vmNetworks.map((network) => ({ ...network, mappedTo: replicaNetworkOf(site, network.name) })),
      clouds: clouds.map((cloud) => ({
        name: cloud.name,
        logicalNetworks: cloud.logicalNetworks,
        hosts: cloud.hosts.map((host) => {
          const known = facts.hypervisors.get(host.name);
          return {
            host: host.name,
            agent: agentOf(host.name, facts) ?? worker(taskQueues.host(vault.name, host.name)),
            hypervisor: { answers: known !== undefined },
            vms: [
              ...site.vms
                .filter((vm) => vm.host === host.name)
                .map((vm) =>
                  vmOf(
                    site,
                    vm,
                    known?.find((each) => each.name === vm.name),
                    facts,
                  ),
                ),
              ...unnamedOn(site, host.name, facts),
            ],
          };
        }),
      })),
    })),
  };
}

export type Infrastructure = Answer<'infrastructure'>;
export type InfrastructureVm = Infrastructure['vmmServers'][number]['clouds'][number]['hosts'][number]['vms'][number];

/** Whether all hosts that the server manages are silent and nothing on them answers. */
const isSuspect = (vmmServer: string, { items, hypervisors }: Facts): boolean =>
  commonSilences([...items.values()].filter((item) => item.vmmServer === vmmServer)).some(
    ({ host, silent }) => silent === 'agent' && !hypervisors.has(host),
  );

function workerState(seenAt: string | undefined, at: string): WorkerState {
  if (seenAt === undefined) return { state: 'unknown' };
  return { state: secondsBetween(seenAt, at) > SILENT_AFTER ? 'silent' : 'working', seenAt };
}

/**
 * The agent of a host that VMs are replicated from. Other commands judge it by its looks too, not by whether its polls
 * are still open.
 */
function agentOf(host: string, { items, heard, at }: Facts): WorkerState | undefined {
  const silence = silenceOf(host, [...items.values()]);
  if (silence?.silent === 'agent') return { state: 'silent', seenAt: silence.heardAt ?? silence.since };
  // The agent is alive: it has reported that its hypervisor does not answer.
  if (silence) return undefined;
  const seenAt = heard.get(host);
  if (seenAt === undefined) return undefined;
  if (secondsBetween(seenAt, at) > UNHEARD_AFTER) return { state: 'silent', seenAt };
  return { state: 'working', seenAt, answered: true };
}

/** Protected VMs on a host that the site file no longer names. */
const unnamedOn = (site: Site, host: string, { items, at }: Facts) =>
  [...items.values()]
    .filter((item) => item.host === host && !site.vms.some(({ name }) => name === item.vm))
    .filter(isProtected)
    .map((item): InfrastructureVm => ({
      vm: item.vm,
      generation: 2,
      phase: item.phase,
      health: viewAmong(items, item.vm, at)!.health,
      activeSide: item.activeSide,
      disks: [],
      networkAdapters: [],
    }));

/** A disk of the site file. @param known the VM as its hypervisor reports it. */
export function diskValue({ name, format, path, size, excluded }: SiteDisk, known: HypervisorVm | undefined) {
  const bytes = known?.disks.find((disk) => disk.name === name)?.size ?? size;
  return { name, format: format ?? 'raw', path, excluded, ...(bytes !== undefined && { size: bytes }) };
}

function vmOf(site: Site, vm: SiteVm, known: HypervisorVm | undefined, { items, held, at }: Facts): InfrastructureVm {
  const item = items.get(vm.name);
  const runsAsReplica = held.some((each) => each.vm === vm.name && each.state);
  const health: Health | undefined = viewAmong(items, vm.name, at)?.health;
  return {
    vm: vm.name,
    generation: vm.generation,
    phase: item?.phase ?? ('Unprotected' as const),
    ...(item && health
      ? { health, activeSide: item.activeSide }
      : runsAsReplica && { activeSide: 'recovery' as const }),
    /** Power state of the source VM. */
    ...(known && { power: known.state }),
    disks: vm.disks.map((disk) => diskValue(disk, known)),
    networkAdapters: vm.networkAdapters.map(({ name, vmNetwork }) => ({
      name,
      vmNetwork,
      replica: replicaNetworkOf(site, vmNetwork),
    })),
  };
}
