/**
 * The site file: inventory and policy, never state. One vault, the VMM servers registered in it with their clouds and
 * hosts, the networks and their mappings, and the VMs with their disks.
 */
import { z } from 'zod';
import { siteHostSchema, type SiteHost } from './host-settings.js';
import { nameSchema } from './ids.js';
import { isTimeZone } from './local-time.js';
import { storeAddressSchema } from './store-address.js';
import { checkPolicy, policySchema, type Policy } from './policy.js';

const pathSchema = z.string().min(1);

const cloudSchema = z.strictObject({
  name: nameSchema,
  logicalNetworks: z.array(nameSchema).default([]),
  hosts: z.array(siteHostSchema).min(1),
});

const vmmServerSchema = z.strictObject({
  name: nameSchema,
  logicalNetworks: z.array(z.strictObject({ name: nameSchema })).default([]),
  /** A VM network is linked to a logical network, which is associated with clouds. */
  vmNetworks: z.array(z.strictObject({ name: nameSchema, logicalNetwork: nameSchema })).default([]),
  clouds: z.array(cloudSchema).min(1),
});

export const diskFormats = ['raw', 'vhd'] as const;
export type DiskFormat = (typeof diskFormats)[number];

const diskSchema = z.strictObject({
  name: nameSchema,
  /** The disk's file; relative to the site file. */
  path: pathSchema,
  format: z.enum(diskFormats).default('raw'),
  /** Bytes; when given, the file must have exactly this virtual size. */
  size: z.int().positive().multipleOf(512, { error: 'must be a multiple of 512 bytes' }).optional(),
  /** The disk the VM boots from. Without one, the first disk is. */
  os: z.boolean().default(false),
  /** The VM has it, its replica does not: it is neither tracked nor copied. Never the disk the VM boots from. */
  excluded: z.boolean().default(false),
});
export type SiteDisk = z.infer<typeof diskSchema>;

const vmSchema = z.strictObject({
  name: nameSchema,
  host: nameSchema,
  generation: z.union([z.literal(1), z.literal(2)]).default(2),
  policy: nameSchema.optional(),
  disks: z.array(diskSchema).min(1),
  networkAdapters: z.array(z.strictObject({ name: nameSchema, vmNetwork: nameSchema })).default([]),
  /** Unix socket of the QEMU guest agent in the VM, which freezes it for app-consistent points; relative to the site file. */
  guestAgent: pathSchema.optional(),
  /** What the replica VM gets at failover. */
  replica: z.strictObject({ size: z.string().min(1).default('Standard_D2s_v5') }).prefault({}),
});
export type SiteVm = z.infer<typeof vmSchema>;

const alertsSchema = z.strictObject({
  /** Each change of a VM's replication health is posted here. */
  webhook: z.url({ protocol: /^https?$/, error: 'an http or https address is wanted' }),
});

export const siteSchema = z.strictObject({
  vault: z.strictObject({ name: nameSchema, store: storeAddressSchema }),
  vmmServers: z.array(vmmServerSchema).min(1),
  azureNetworks: z.array(z.strictObject({ name: nameSchema, subnets: z.array(nameSchema).min(1) })).default([]),
  networkMappings: z
    .array(z.strictObject({ vmNetwork: nameSchema, azureNetwork: nameSchema, subnet: nameSchema.optional() }))
    .default([]),
  policies: z.array(policySchema).default([]),
  alerts: alertsSchema.optional(),
  vms: z.array(vmSchema).default([]),
});
export type Site = z.infer<typeof siteSchema>;

/** Something wrong with a document that its shape alone does not show. `path` leads to the value. */
export interface Finding {
  readonly path: (string | number)[];
  readonly message: string;
  readonly remedy: string;
}

/** Cross-checks: names used once, references that lead somewhere, networks mapped. The first finding is the one to show. */
export function checkSite(site: Site): Finding[] {
  return [
    ...duplicateNames(site),
    ...osDiskProblems(site),
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
        message: `this is the guest agent of ${owner}, so that the wrong VM would be frozen`,
        remedy: 'name the socket of this VM',
      };
    }
    agents.set(guestAgent, name);
  }
  const hosts = new Set<string>();
  for (const [s, server] of site.vmmServers.entries()) {
    yield* repeated(server.clouds, ['vmmServers', s, 'clouds'], 'cloud');
    yield* repeated(server.vmNetworks, ['vmmServers', s, 'vmNetworks'], 'VM network');
    for (const [c, cloud] of server.clouds.entries()) {
      for (const [h, host] of cloud.hosts.entries()) {
        if (hosts.has(host.name)) yield duplicate(['vmmServers', s, 'clouds', c, 'hosts', h, 'name'], 'host');
        hosts.add(host.name);
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
  const seen = new Set<string>();
  for (const [index, item] of items.entries()) {
    if (seen.has(item.name)) yield duplicate([...path, index, 'name'], what);
    seen.add(item.name);
  }
}

const duplicate = (path: (string | number)[], what: string): Finding => ({
  path,
  message: `this name is already taken by another ${what}`,
  remedy: 'rename one of the two',
});

/** As there always is a disk to boot from, there always is one that is replicated. */
function* osDiskProblems(site: Site): Generator<Finding> {
  for (const [v, vm] of site.vms.entries()) {
    const { name, disks } = vm;
    const at = (disk: number, field: string) => ['vms', v, 'disks', disk, field];
    const first = disks.findIndex(({ os }) => os);
    const second = disks.findLastIndex(({ os }) => os);
    if (first !== second) {
      const message = `a VM boots from one disk, and ${disks[first]!.name} is it already`;
      yield { path: at(second, 'os'), message, remedy: 'leave os: true to one of them' };
    }
    if (osDiskOf(vm).excluded) {
      const message = `${name} boots from this disk, so that a replica without it would be none`;
      const remedy = 'leave excluded out, or name the disk it boots from with os: true';
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
      remedy: 'use a name of the time zone database, such as Europe/Paris or UTC',
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
        message: 'this VM network is not mapped to an Azure network, so the replica VM would have no network',
        remedy: `add an entry for ${adapter.vmNetwork} under networkMappings`,
      };
    }
  }
}

/** Every host of every cloud. */
export const hostsOf = (site: Site): SiteHost[] =>
  site.vmmServers.flatMap(({ clouds }) => clouds.flatMap(({ hosts }) => hosts));

/** Where a VM lives: the VMM server that manages its host. Defined for every VM of a checked site. */
export function vmmServerOf(site: Site, host: string): string {
  for (const server of site.vmmServers) {
    if (server.clouds.some((cloud) => cloud.hosts.some((h) => h.name === host))) return server.name;
  }
  throw new Error(`host ${host} is in no cloud`);
}

/** What a VM that names no policy has, unless the site file defines its own of this name. */
const DEFAULT_POLICY = 'default';

export function policyOf(site: Site, vm: SiteVm): Policy {
  return policyNamed(site, vm.policy ?? DEFAULT_POLICY) ?? policySchema.parse({ name: DEFAULT_POLICY });
}

export function policyNamed(site: Site, name: string): Policy | undefined {
  const found = site.policies.find((policy) => policy.name === name);
  return found ?? (name === DEFAULT_POLICY ? policySchema.parse({ name }) : undefined);
}

export const policyNames = (site: Site): string[] => [
  ...new Set([...site.policies.map(({ name }) => name), DEFAULT_POLICY]),
];

/** The disk the VM boots from. */
export const osDiskOf = (vm: SiteVm): SiteDisk => vm.disks.find((disk) => disk.os) ?? vm.disks[0]!;

/** Interfaces of the replica VM: by network mapping; a subnet of the VM network's own name wins, else the first. */
export function replicaNetworkOf(site: Site, vmNetwork: string): { network: string; subnet: string } | undefined {
  const mapping = site.networkMappings.find((entry) => entry.vmNetwork === vmNetwork);
  const network = site.azureNetworks.find((entry) => entry.name === mapping?.azureNetwork);
  if (!mapping || !network) return undefined;
  const sameName = network.subnets.find((subnet) => subnet === vmNetwork);
  return { network: network.name, subnet: mapping.subnet ?? sameName ?? network.subnets[0]! };
}
