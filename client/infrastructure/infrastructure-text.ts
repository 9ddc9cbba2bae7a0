/** The infrastructure as a tree: pure. */
import { formatBytes } from '../../domain/bytes.js';
import { formatStoreAddress } from '../../domain/store-address.js';
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
          text: `store: ${vault.store.kind}, ${formatStoreAddress(vault.store)}${vault.store.answers ? '' : ', does not answer here'}`,
        },
        { text: `Azure worker: ${workerText(vault.worker, at)}` },
        {
          text: `recovery compute: ${vault.recoveryCompute.answers ? `answers, replica VMs: ${vault.recoveryCompute.vms}` : 'does not answer here'}`,
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
            text: `host ${host.name}`,
            children: [
              { text: `agent: ${workerText(host.agent, at)}` },
              { text: `hypervisor: ${host.hypervisor.answers ? 'answers' : 'does not answer here'}` },
              ...host.vms.map(vmNode),
            ],
          })),
        })),
      ],
    })),
  ];
  return roots.map((root) => [root.text, ...branches(root)].join('\n')).join('\n');
}

function workerText({ state, seenAt }: WorkerState, at: string): string {
  if (state === 'working') return 'working';
  return state === 'unknown'
    ? 'none has asked for work in the last minutes'
    : `silent for ${formatSeconds(secondsBetween(seenAt!, at))}`;
}

const vmNode = ({ name, phase, health, power, disks, networkAdapters }: InfrastructureVm): Node => ({
  text: `VM ${name}: ${[phase, health, power && `power ${power}`].filter((part) => part !== undefined).join(', ')}`,
  children: [
    ...disks.map((disk) => ({
      text: `disk ${disk.name}: ${[disk.format, disk.size === undefined ? undefined : formatBytes(disk.size), disk.excluded ? 'excluded' : undefined, disk.path].filter((part) => part !== undefined).join(', ')}`,
    })),
    ...networkAdapters.map((adapter) => ({
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
