/**
 * The site file: inventory and policy, never state. One vault, the VMM servers registered in it with their clouds and
 * hosts, the networks and their mappings, and the VMs with their disks.
 */
import { z } from 'zod';
import {
  diskBuses,
  firmwares,
  ipAddressSchema,
  macAddressOf,
  macAddressSchema,
  memorySchema,
  processorsSchema,
  type Hardware,
} from './hardware.js';
import { siteHostSchema, type SiteHost } from './host-settings.js';
import { nameSchema } from './ids.js';
import { policySchema, type Policy } from './policy.js';
import { storeAddressSchema } from './store-address.js';
import { testChecksSchema } from './test-checks.js';

const pathSchema = z.string().min(1);

const cloudSchema = z.strictObject({
  name: nameSchema,
  logicalNetworks: z.array(nameSchema).default([]).describe('Logical networks that the cloud offers.'),
  hosts: z.array(siteHostSchema).min(1).describe('Its Hyper-V hosts.'),
});

const vmmServerSchema = z.strictObject({
  name: nameSchema,
  logicalNetworks: z
    .array(z.strictObject({ name: nameSchema }))
    .default([])
    .describe('Logical networks, with which clouds are associated.'),
  vmNetworks: z
    .array(z.strictObject({ name: nameSchema, logicalNetwork: nameSchema }))
    .default([])
    .describe('Networks that VM adapters connect to; each belongs to a logical network.'),
  clouds: z.array(cloudSchema).min(1).describe('Clouds of Hyper-V hosts that this server manages.'),
});

export const diskFormats = ['raw', 'vhd'] as const;
export type DiskFormat = (typeof diskFormats)[number];

const diskSchema = z.strictObject({
  name: nameSchema,
  path: pathSchema.describe("The disk's file, relative to the site file."),
  format: z
    .enum(diskFormats)
    .optional()
    .describe('raw, or vhd for a fixed VHD. Left out: raw; a file that looks like another format is refused.'),
  size: z
    .int()
    .positive()
    .multipleOf(512, { error: 'must be a multiple of 512 bytes' })
    .optional()
    .describe('In bytes. If set, the disk must have exactly this virtual size.'),
  bus: z
    .enum(diskBuses)
    .optional()
    .describe(
      'Left out: SCSI, but IDE for the boot disk of a generation 1 VM. The VM has its disks in the order of this list.',
    ),
  os: z.boolean().default(false).describe('The VM boots from this disk. Left out everywhere: the first disk.'),
  excluded: z
    .boolean()
    .default(false)
    .describe('The disk is neither tracked nor replicated. Not allowed for the disk that the VM boots from.'),
});
export type SiteDisk = z.infer<typeof diskSchema>;

const networkAdapterSchema = z.strictObject({
  name: nameSchema,
  vmNetwork: nameSchema,
  macAddress: macAddressSchema
    .optional()
    .describe('Six bytes such as 00:15:5D:01:02:03. Left out: the host assigns an address at each start.'),
  addresses: z.array(ipAddressSchema).default([]).describe('IP addresses of the guest on this adapter.'),
});

const siteHardwareSchema = z
  .strictObject({
    processors: processorsSchema.default(2).describe('Virtual processors.'),
    memoryBytes: memorySchema
      .default(4 * 1024 ** 3)
      .describe('Memory at start, bytes: a multiple of 2 MiB, at least 32 MiB.'),
    firmware: z
      .enum(firmwares)
      .optional()
      .describe('BIOS for a generation 1 VM, UEFI for generation 2. Left out: as the generation requires.'),
    secureBoot: z.boolean().optional().describe('With UEFI only, and then by default.'),
  })
  .prefault({});

export const directBootSchema = z.strictObject({
  kernel: pathSchema.describe('A Linux kernel, or another kernel that QEMU can start directly.'),
  initialRamDisk: pathSchema.optional().describe('The initial RAM disk of the kernel (initrd).'),
  commandLine: z.string().max(2048).optional().describe('Given to the kernel.'),
});

export type DirectBoot = z.infer<typeof directBootSchema>;

const vmSchema = z.strictObject({
  name: nameSchema,
  host: nameSchema.describe('One of the hosts above.'),
  generation: z.union([z.literal(1), z.literal(2)]).default(2),
  policy: nameSchema.optional().describe('One of the policies. Left out: a policy with all defaults.'),
  disks: z.array(diskSchema).min(1),
  networkAdapters: z
    .array(networkAdapterSchema)
    .default([])
    .describe('Network adapters, and the VM networks they are connected to.'),
  hardware: siteHardwareSchema.describe('Hardware of the VM; the replica VM gets the same.'),
  guestAgent: pathSchema
    .optional()
    .describe(
      'Unix socket of the QEMU guest agent in the VM, which freezes the guest for app-consistent points. Relative to the site file.',
    ),
  directBoot: directBootSchema
    .optional()
    .describe('With `guests: qemu`: the kernel that the VM boots at both sites, instead of booting from its disks.'),
  checks: testChecksSchema
    .default([])
    .describe('With `guests: qemu`: what a test failover checks once the guest of the test VM has booted.'),
  replica: z
    .strictObject({ size: z.string().min(1).default('Standard_D2s_v5').describe('Size of the replica VM.') })
    .prefault({})
    .describe('Settings of the replica VM.'),
});
export type SiteVm = z.infer<typeof vmSchema>;

const alertsSchema = z.strictObject({
  webhook: z
    .url({ protocol: /^https?$/, error: 'expected an http or https address' })
    .describe("Farshore posts each change of a VM's replication health to this address."),
});

export const siteSchema = z.strictObject({
  vault: z
    .strictObject({
      name: nameSchema,
      store: storeAddressSchema.describe('The store of the replicas and recovery points.'),
    })
    .describe('The Recovery Services vault: the recovery site of everything in the file.'),
  vmmServers: z.array(vmmServerSchema).min(1).describe('VMM servers. Each runs a Provider.'),
  azureNetworks: z
    .array(z.strictObject({ name: nameSchema, subnets: z.array(nameSchema).min(1) }))
    .default([])
    .describe('Virtual networks at the recovery site.'),
  networkMappings: z
    .array(
      z.strictObject({
        vmNetwork: nameSchema,
        azureNetwork: nameSchema,
        subnet: nameSchema
          .optional()
          .describe('Left out: the subnet with the name of the VM network, otherwise the first.'),
      }),
    )
    .default([])
    .describe("Connects a VM's adapters after a failover. Every VM network that a VM uses needs a mapping."),
  policies: z.array(policySchema).default([]).describe('Replication policies.'),
  guests: z
    .enum(['exports', 'qemu'])
    .default('exports')
    .describe(
      'exports: a running VM only serves its disks over NBD. qemu: VMs and replica VMs boot in qemu-system-x86_64.',
    ),
  alerts: alertsSchema.optional().describe('Alerts when the replication health of a VM changes.'),
  vms: z.array(vmSchema).default([]).describe('VMs that can be protected.'),
});
export type Site = z.infer<typeof siteSchema>;

/** A problem in a document whose shape is valid. `path` leads to the value. */
export interface Finding {
  readonly path: (string | number)[];
  readonly message: string;
  readonly remedy: string;
}

/** Every host of every cloud. */
export const hostsOf = (site: Site): SiteHost[] =>
  site.vmmServers.flatMap(({ clouds }) => clouds.flatMap(({ hosts }) => hosts));

/** The VMM server that manages a VM's host. Defined for every VM of a checked site. */
export function vmmServerOf(site: Site, host: string): string {
  for (const server of site.vmmServers) {
    if (server.clouds.some((cloud) => cloud.hosts.some((h) => h.name === host))) return server.name;
  }
  throw new Error(`host ${host} does not belong to any cloud`);
}

/** The policy of a VM that names none; a site file may define its own policy of this name. */
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

/** Default: IDE for the boot disk of a generation 1 VM, SCSI for all other disks. */
export const busOf = (vm: SiteVm, disk: SiteDisk): (typeof diskBuses)[number] =>
  disk.bus ?? (vm.generation === 1 && disk === osDiskOf(vm) ? 'IDE' : 'SCSI');

export const firmwareOf = ({ generation, hardware }: SiteVm): Hardware['firmware'] =>
  hardware.firmware ?? (generation === 1 ? 'BIOS' : 'UEFI');

/** The hardware as the hypervisor of the VM reports it. */
export const hardwareOf = (vm: SiteVm): Hardware => ({
  processors: vm.hardware.processors,
  memoryBytes: vm.hardware.memoryBytes,
  firmware: firmwareOf(vm),
  secureBoot: vm.hardware.secureBoot ?? firmwareOf(vm) === 'UEFI',
  disks: vm.disks.map((disk) => ({ name: disk.name, bus: busOf(vm, disk) })),
  networkAdapters: vm.networkAdapters.map(({ name, macAddress, addresses }) => ({
    name,
    ...(macAddress !== undefined && { macAddress: macAddressOf(macAddress) }),
    addresses,
  })),
});

/**
 * Network of the replica VM's interfaces, by network mapping. A subnet with the VM network's own name is preferred;
 * otherwise the first.
 */
export function replicaNetworkOf(site: Site, vmNetwork: string): { network: string; subnet: string } | undefined {
  const mapping = site.networkMappings.find((entry) => entry.vmNetwork === vmNetwork);
  const network = site.azureNetworks.find((entry) => entry.name === mapping?.azureNetwork);
  if (!mapping || !network) return undefined;
  const sameName = network.subnets.find((subnet) => subnet === vmNetwork);
  return { network: network.name, subnet: mapping.subnet ?? sameName ?? network.subnets[0]! };
}
