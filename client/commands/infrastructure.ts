/** `infrastructure`: both sites as a tree, and the processes that are alive. */
import { Command } from 'commander';
import { taskQueues } from '../../domain/ids.js';
import { isProtected } from '../../domain/protected-item.js';
import { hostsOf, type Site } from '../../domain/site.js';
import { infrastructureOf } from '../infrastructure/infrastructure.js';
import { infrastructureText } from '../infrastructure/infrastructure-text.js';
import { unlessItHangs } from './store-patience.js';
import { heldReplicas, outputOf, withFarshore } from './place.js';

export function infrastructureCommand(): Command {
  return new Command('infrastructure')
    .summary('show both sites as a tree, and which processes are alive')
    .description(
      'Shows a tree: the vault with its store, worker and networks; each VMM server with its Provider, networks, ' +
        'mappings, clouds and hosts; each host with its agent and hypervisor; each VM with its disks and network ' +
        'adapters. If VMs are replicated from a host, shows whether its agent answers. For other workers, shows ' +
        'when they last asked for work: a live worker asks once a minute, and one that has not asked for 80 ' +
        'seconds is called silent. Checks hypervisors, recovery compute and the store from this machine.',
    )
    .action(async (_options: object, command: Command) => {
      const [{ LocalSite }, { seenWorkers }, { overviewOf }, { newestLook }, { toldItems }] = await Promise.all([
        import('../../local/local-site.js'),
        import('../../temporal/seen-workers.js'),
        import('../overview.js'),
        import('../../temporal/host-hearing.js'),
        import('../told-items.js'),
      ]);
      await withFarshore(command, async (farshore, place) => {
        const {
          site: { site },
          data,
        } = place;
        const local = new LocalSite(site, data);
        const hosts = hostsOf(site).map(({ name }) => name);
        const { items: known } = await overviewOf(farshore);
        const items = await toldItems(farshore, place, known);
        const protectedVms = [...items.values()].filter(isProtected).map(({ vm }) => vm);
        const look = (host: string) => newestLook(farshore.temporal, site.vault.name, host).catch(() => undefined);
        const [seen, heard, hypervisors, replicaVms, storeAnswers, held] = await Promise.all([
          seenWorkers(farshore.temporal, queuesOf(site)),
          Promise.all(hosts.map(async (host) => [host, await look(host)] as const)),
          Promise.all(hosts.map(async (host) => [host, await local.hypervisorVms(host)] as const)),
          local.replicaStates(),
          storeIsThere(site),
          heldReplicas(site, protectedVms),
        ]);
        const at = new Date().toISOString();
        const value = infrastructureOf(site, {
          at,
          seen,
          heard: new Map(heard.flatMap(([host, newest]) => (newest ? [[host, newest.heardAt] as const] : []))),
          items,
          held,
          hypervisors: new Map(hypervisors.flatMap(([host, vms]) => (vms ? [[host, vms] as const] : []))),
          replicaVms,
          storeAnswers,
        });
        outputOf(command).result('infrastructure', value, infrastructureText(value, at));
      });
    });
}

const queuesOf = (site: Site): string[] => [
  taskQueues.azure(site.vault.name),
  ...site.vmmServers.map(({ name }) => taskQueues.vmm(site.vault.name, name)),
  ...hostsOf(site).map(({ name }) => taskQueues.host(site.vault.name, name)),
];

async function storeIsThere({ vault }: Site): Promise<boolean> {
  const { requireStore } = await import('../../local/local-vault.js');
  const there = requireStore(vault).then(() => true);
  // A store that hangs must not hide the rest.
  return await unlessItHangs(there, false);
}
