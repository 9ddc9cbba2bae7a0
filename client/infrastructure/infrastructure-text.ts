/** The infrastructure as a tree of text. Pure. */
import { formatBytes } from '../../domain/bytes.js';
import { formatSeconds, secondsBetween } from '../../domain/time.js';
import type { Infrastructure, InfrastructureVm, WorkerState } from './infrastructure.js';

interface Node {
  readonly text: string;
  readonly children?: readonly Node[];
}

/** @param at ISO 8601. */
export function infrastructureText({ vault, vmmServers }: Infrastructure, at: string): string {
  const roots: Node[] = [
    {
      text: `Vault ${vault.name}`,
      children: [
        {
          text: `store: ${vault.storeKind}, ${vault.store}${vault.storeAnswers ? '' : ', does not answer on this machine'}`,
        },
        { text: `Azure worker: ${workerText(vault.worker, at)}` },
        {
          text: `recovery compute: ${vault.recoveryCompute.answers ? `answers, replica VMs: ${vault.recoveryCompute.vmCount}` : 'does not answer on this machine'}`,
          children: (vault.recoveryCompute.vms ?? []).map(({ vm, power }) => ({ text: `replica VM ${vm}: ${power}` })),
        },
        ...vault.networks.map(({ name, subnets }) => ({ text: `Azure network ${name}: ${subnets.join(', ')}` })),
      ],
    },
    ...vmmServers.map((server) => ({
      text: `VMM server ${server.name}`,
      children: [
        { text: `Provider: ${workerText(server.provider, at)}` },
        ...server.vmNetworks.map(({ name, logicalNetwork, mappedTo }) => ({
          text: `VM network ${name} (${logicalNetwork})${networkText(mappedTo)}`,
        })),
        ...server.clouds.map(({ name, logicalNetworks, hosts }) => ({
          text: `cloud ${name}${logicalNetworks.length > 0 ? ` (${logicalNetworks.join(', ')})` : ''}`,
          children: hosts.map((host) => ({
            text: `host ${host.host}`,
            children: [
              { text: `agent: ${workerText(host.agent, at)}` },
              { text: `hypervisor: ${host.hypervisor.answers ? 'answers' : 'does not answer on this machine'}` },
              ...host.vms.map(vmNode),
            ],
          })),
        })),
      ],
    })),
  ];
  return roots.map((root) => [root.text, ...branches(root)].join('\n')).join('\n');
}

/** A healthy agent is heard every few seconds, s. */
const JUST_NOW = 10;

function workerText({ state, seenAt, answered, mayBeGone }: WorkerState, at: string): string {
  if (state === 'working') {
    if (!answered) {
      const polled = `last asked for work ${formatSeconds(secondsBetween(seenAt!, at))} ago`;
      return mayBeGone
        ? `${polled}, but may be down: its hosts do not answer`
        : `${polled}; not checked whether it answers`;
    }
    const silent = secondsBetween(seenAt!, at);
    return silent > JUST_NOW ? `last heard ${formatSeconds(silent)} ago` : 'working';
  }
  return state === 'unknown'
    ? 'no worker has asked for work in the last minutes'
    : `silent for ${formatSeconds(secondsBetween(seenAt!, at))}`;
}

function stateText({ phase, health, activeSide, power }: InfrastructureVm): string {
  const state = [phase, health].filter((part) => part !== undefined).join(', ');
  if (activeSide === 'recovery') {
    return `${state}, runs at the recovery site${power === undefined ? '' : `; its source here: power ${power}`}`;
  }
  return power === undefined ? state : `${state}, power ${power}`;
}

const vmNode = (found: InfrastructureVm): Node => ({
  text: `VM ${found.vm}: ${stateText(found)}`,
  children: [
    ...found.disks.map((disk) => ({
      text: `disk ${disk.name}: ${[disk.format, disk.size === undefined ? undefined : formatBytes(disk.size), disk.excluded ? 'excluded' : undefined, disk.path].filter((part) => part !== undefined).join(', ')}`,
    })),
    ...found.networkAdapters.map((adapter) => ({
      text: `network adapter ${adapter.name}: ${adapter.vmNetwork}${networkText(adapter.replica)}`,
    })),
  ],
});

const networkText = (mapped: { network: string; subnet: string } | undefined): string =>
  mapped ? ` -> ${mapped.network}/${mapped.subnet}` : ' -> not mapped';

function branches({ children = [] }: Node): string[] {
  return children.flatMap((child, index) => {
    const last = index === children.length - 1;
    return [`${last ? '└─ ' : '├─ '}${child.text}`, ...branches(child).map((line) => `${last ? '   ' : '│  '}${line}`)];
  });
}
