/** The hardware of a VM, as its hypervisor describes it: a replica VM must have the same. */
import { z } from 'zod';
import { formatBytes } from './bytes.js';
import { counted } from './counted.js';
import { nameSchema } from './ids.js';

export const firmwares = ['BIOS', 'UEFI'] as const;
export const diskBuses = ['IDE', 'SCSI'] as const;

const MiB = 1024 * 1024;
/** What Hyper-V accepts: at least 32 MiB, in steps of 2 MiB. */
const LEAST_MEMORY = 32 * MiB;
const MEMORY_STEP = 2 * MiB;

export const processorsSchema = z.int().min(1).max(2048);
export const memorySchema = z
  .int()
  .min(LEAST_MEMORY)
  .multipleOf(MEMORY_STEP, { error: `expected a multiple of ${MEMORY_STEP} (2 MiB)` });
/** The address of one adapter; excludes group addresses. */
export const macAddressSchema = z.string().regex(/^[0-9a-fA-F][02468aceACE]([:-][0-9a-fA-F]{2}){5}$/, {
  error: 'expected the MAC address of one adapter: six bytes such as 00:15:5D:01:02:03',
});
export const ipAddressSchema = z
  .string()
  .refine((text) => [z.ipv4(), z.ipv6()].some((schema) => schema.safeParse(text).success), {
    error: 'expected an IPv4 or IPv6 address without a prefix length',
  });

export const hardwareSchema = z.object({
  processors: z.int().min(1).describe('Virtual processors.'),
  memoryBytes: z.int().min(1).describe('Memory at start, bytes.'),
  firmware: z.enum(firmwares),
  secureBoot: z.boolean(),
  disks: z
    .array(z.object({ name: nameSchema, bus: z.enum(diskBuses) }))
    .readonly()
    .describe('In the order in which the VM has them.'),
  networkAdapters: z
    .array(
      z.object({
        name: nameSchema,
        macAddress: z.string().exactOptional().describe('Left out: the host assigns an address at each start.'),
        addresses: z.array(z.string()).readonly().describe('IP addresses in the guest, as far as they are known.'),
      }),
    )
    .readonly(),
});
export type Hardware = z.infer<typeof hardwareSchema>;

/** The normalized form of a MAC address. */
export const macAddressOf = (written: string): string => written.toUpperCase().replaceAll('-', ':');

/** Lines for display: one for the machine, one for its disks, one for each network adapter. */
export function hardwareLines({ processors, memoryBytes, firmware, secureBoot, ...rest }: Hardware): string[] {
  const boot = firmware === 'UEFI' ? `UEFI with${secureBoot ? '' : 'out'} secure boot` : firmware;
  return [
    `${counted(processors, 'processor')}, ${formatBytes(memoryBytes)} of memory, ${boot}`,
    `disks ${rest.disks.map(({ name, bus }) => `${name} (${bus})`).join(', ')}`,
    ...rest.networkAdapters.map(({ name, macAddress, addresses }) =>
      [`adapter ${name}`, macAddress ?? 'MAC address given at start', ...addresses].join(', '),
    ),
  ];
}
