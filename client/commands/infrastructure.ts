/** `infrastructure`: what there is on both sides, and what of it is alive. */
import { Command } from 'commander';
import { taskQueues } from '../../domain/ids.js';
import { hostsOf, type Site } from '../../domain/site.js';
import { infrastructureOf } from '../infrastructure/infrastructure.js';
import { infrastructureText } from '../infrastructure/infrastructure-text.js';
import { unlessItHangs } from './store-patience.js';
import { outputOf, withFarshore } from './place.js';

export function infrastructureCommand(): Command {
  return new Command('infrastructure')
    .summary('vault, VMM servers, clouds, hosts, VMs and networks, and which of them are alive')
    .description(
      'Shows as a tree: the vault with its store, worker and networks; the VMM servers with their Provider, networks and\n' +
        'mappings, clouds and hosts; each host with its agent and hypervisor; the VMs with disks and network adapters. A\n' +
        'worker that has ended is called silent after a minute and a half. Hypervisors and the store are asked on this machine.',
    )
    .action(async (_options: object, command: Command) => {
      const [{ LocalSite }, { seenWorkers }, { overviewOf }] = await Promise.all([
        import('../../workers/local-site.js'),
        import('../infrastructure/seen-workers.js'),
        import('../overview.js'),
      ]);
      await withFarshore(command, async (farshore, { site: { site }, data }) => {
        const local = new LocalSite(site, data);
        const [seen, overview, hypervisors, replicaVms, storeAnswers] = await Promise.all([
          seenWorkers(farshore, queuesOf(site)),
          overviewOf(farshore),
          Promise.all(hostsOf(site).map(async ({ name }) => [name, await local.hypervisorVms(name)] as const)),
          local.replicaVms().then(
            (vms) => vms.length,
            () => undefined,
          ),
          storeIsThere(site),
        ]);
        const at = new Date().toISOString();
        const value = infrastructureOf(site, {
          at,
          seen,
          items: overview.items,
          hypervisors: new Map(hypervisors.flatMap(([host, vms]) => (vms ? [[host, vms] as const] : []))),
          replicaVms,
          storeAnswers,
        });
        outputOf(command).result(value, infrastructureText(value, at));
      });
    });
}

const queuesOf = (site: Site): string[] => [
  taskQueues.azure(site.vault.name),
  ...site.vmmServers.map(({ name }) => taskQueues.vmm(name)),
  ...hostsOf(site).map(({ name }) => taskQueues.host(name)),
];

async function storeIsThere({ vault }: Site): Promise<boolean> {
  const { protectedInVault } = await import('../../workers/local-vault.js');
  const there = protectedInVault(vault, []).then(() => true);
  // One that hangs is not there for whoever wants to see the rest.
  return await unlessItHangs(there, false);
}
