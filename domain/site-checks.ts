/** Problems of a site file whose single fields are all valid. */
import { hardwareProblems } from './hardware-checks.js';
import { isTimeZone } from './local-time.js';
import { checkPolicy } from './policy.js';
import { hostsOf, osDiskOf, type Finding, type Site } from './site.js';

/**
 * Checks across fields: names are unique, references lead somewhere, networks are mapped. The first finding is the one
 * to show.
 */
export function checkSite(site: Site): Finding[] {
  return [
    ...duplicateNames(site),
    ...osDiskProblems(site),
    ...hardwareProblems(site),
    ...policyProblems(site),
    ...unknownTimeZones(site),
    ...danglingReferences(site),
    ...unmappedNetworks(site),
  ];
}

function* duplicateNames(site: Site): Generator<Finding> {
  yield* repeated(site.vmmServers, ['vmmServers'], 'VMM server');
  yield* repeated(site.azureNetworks, ['azureNetworks'], 'Azure network');
  yield* repeated(site.policies, ['policies'], 'policy');
  yield* repeated(site.vms, ['vms'], 'VM');
  for (const [v, vm] of site.vms.entries()) {
    yield* repeated(vm.disks, ['vms', v, 'disks'], `disk of ${vm.name}`);
    yield* repeated(vm.networkAdapters, ['vms', v, 'networkAdapters'], `network adapter of ${vm.name}`);
  }
  const paths = new Map<string, string>();
  for (const [v, vm] of site.vms.entries()) {
    for (const [d, disk] of vm.disks.entries()) {
      const owner = paths.get(disk.path);
      if (owner !== undefined) {
        yield {
          path: ['vms', v, 'disks', d, 'path'],
          message: `the disk file is already used by ${owner}; shared disks cannot be protected`,
          remedy: 'give each disk a file of its own',
        };
      }
      paths.set(disk.path, `${vm.name}/${disk.name}`);
    }
  }
  const agents = new Map<string, string>();
  for (const [v, { name, guestAgent }] of site.vms.entries()) {
    if (guestAgent === undefined) continue;
    const owner = agents.get(guestAgent);
    if (owner !== undefined) {
      yield {
        path: ['vms', v, 'guestAgent'],
        message: `this socket is already the guest agent of ${owner}, so the wrong VM would be frozen`,
        remedy: 'give the socket of this VM',
      };
    }
    agents.set(guestAgent, name);
  }
  const hosts = new Map<string, string>();
  for (const [s, server] of site.vmmServers.entries()) {
    yield* repeated(server.clouds, ['vmmServers', s, 'clouds'], 'cloud');
    yield* repeated(server.vmNetworks, ['vmmServers', s, 'vmNetworks'], 'VM network');
    for (const [c, cloud] of server.clouds.entries()) {
      for (const [h, host] of cloud.hosts.entries()) {
        const other = hosts.get(host.name.toLowerCase());
        if (other !== undefined)
          yield duplicate(['vmmServers', s, 'clouds', c, 'hosts', h, 'name'], 'host', host.name, other);
        else hosts.set(host.name.toLowerCase(), host.name);
      }
    }
  }
}

function* policyProblems(site: Site): Generator<Finding> {
  for (const [p, policy] of site.policies.entries()) {
    for (const { field, message, remedy } of checkPolicy(policy))
      yield { path: ['policies', p, field], message, remedy };
  }
}

function* repeated(items: readonly { name: string }[], path: (string | number)[], what: string): Generator<Finding> {
  const seen = new Map<string, string>();
  for (const [index, item] of items.entries()) {
    const other = seen.get(item.name.toLowerCase());
    if (other !== undefined) yield duplicate([...path, index, 'name'], what, item.name, other);
    else seen.set(item.name.toLowerCase(), item.name);
  }
}

/**
 * Names become names of files and machines, and operators type them, so names that differ only in case count as equal.
 */
const duplicate = (path: (string | number)[], what: string, name: string, other: string): Finding => ({
  path,
  message:
    name === other
      ? `this name is already taken by another ${what}`
      : `this name differs only in case from that of another ${what}, ${other}`,
  remedy: 'rename one of the two',
});

/** The boot disk must be replicated, so that every VM has at least one replicated disk. */
function* osDiskProblems(site: Site): Generator<Finding> {
  for (const [v, vm] of site.vms.entries()) {
    const { name, disks } = vm;
    const at = (disk: number, field: string) => ['vms', v, 'disks', disk, field];
    const first = disks.findIndex(({ os }) => os);
    const second = disks.findLastIndex(({ os }) => os);
    if (first !== second) {
      const message = `a VM boots from one disk, but ${disks[first]!.name} is already marked as its OS disk`;
      yield { path: at(second, 'os'), message, remedy: 'set os: true on only one disk' };
    }
    if (osDiskOf(vm).excluded) {
      const message = `${name} boots from this disk, so a replica without it could not start`;
      const remedy = 'remove excluded, or set os: true on the disk that the VM boots from';
      yield { path: at(Math.max(first, 0), 'excluded'), message, remedy };
    }
  }
}

function* unknownTimeZones(site: Site): Generator<Finding> {
  for (const [p, { resynchronizationWindow: window }] of site.policies.entries()) {
    if (window === 'always' || isTimeZone(window.timeZone)) continue;
    yield {
      path: ['policies', p, 'resynchronizationWindow', 'timeZone'],
      message: 'unknown time zone',
      remedy: 'use a time zone name such as Europe/Paris or UTC',
    };
  }
}

function* danglingReferences(site: Site): Generator<Finding> {
  const hosts = hostsOf(site).map(({ name }) => name);
  const policies = site.policies.map((policy) => policy.name);
  const vmNetworks = site.vmmServers.flatMap((server) => server.vmNetworks.map((network) => network.name));
  const azureNetworks = site.azureNetworks.map((network) => network.name);
  for (const [s, server] of site.vmmServers.entries()) {
    const logical = server.logicalNetworks.map((network) => network.name);
    for (const [n, network] of server.vmNetworks.entries()) {
      yield* known(
        network.logicalNetwork,
        logical,
        ['vmmServers', s, 'vmNetworks', n, 'logicalNetwork'],
        'logical network',
      );
    }
    for (const [c, cloud] of server.clouds.entries()) {
      for (const [l, name] of cloud.logicalNetworks.entries()) {
        yield* known(name, logical, ['vmmServers', s, 'clouds', c, 'logicalNetworks', l], 'logical network');
      }
    }
  }
  for (const [m, mapping] of site.networkMappings.entries()) {
    yield* known(mapping.vmNetwork, vmNetworks, ['networkMappings', m, 'vmNetwork'], 'VM network');
    yield* known(mapping.azureNetwork, azureNetworks, ['networkMappings', m, 'azureNetwork'], 'Azure network');
    const subnets = site.azureNetworks.find((network) => network.name === mapping.azureNetwork)?.subnets;
    if (mapping.subnet !== undefined && subnets) {
      yield* known(mapping.subnet, subnets, ['networkMappings', m, 'subnet'], `subnet of ${mapping.azureNetwork}`);
    }
  }
  for (const [v, vm] of site.vms.entries()) {
    yield* known(vm.host, hosts, ['vms', v, 'host'], 'host');
    if (vm.policy !== undefined) yield* known(vm.policy, policies, ['vms', v, 'policy'], 'policy');
    for (const [a, adapter] of vm.networkAdapters.entries()) {
      yield* known(adapter.vmNetwork, vmNetworks, ['vms', v, 'networkAdapters', a, 'vmNetwork'], 'VM network');
    }
  }
}

function* known(name: string, names: readonly string[], path: (string | number)[], what: string): Generator<Finding> {
  if (names.includes(name)) return;
  const choice = names.length > 0 ? `use one of: ${names.join(', ')}` : `define a ${what} first`;
  yield { path, message: `unknown ${what}`, remedy: choice };
}

function* unmappedNetworks(site: Site): Generator<Finding> {
  const mapped = new Set(site.networkMappings.map((mapping) => mapping.vmNetwork));
  for (const [v, vm] of site.vms.entries()) {
    for (const [a, adapter] of vm.networkAdapters.entries()) {
      if (mapped.has(adapter.vmNetwork)) continue;
      yield {
        path: ['vms', v, 'networkAdapters', a, 'vmNetwork'],
        message: 'this VM network has no mapping to an Azure network, so the replica VM would have no network',
        remedy: `add an entry for ${adapter.vmNetwork} under networkMappings`,
      };
    }
  }
}
