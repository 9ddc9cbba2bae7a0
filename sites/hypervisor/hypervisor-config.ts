/** The configuration a hypervisor process is started with: a JSON file. Paths are taken as they are. */
import { readFile } from 'node:fs/promises';
import { z } from 'zod';
import { directBootSchema, diskFormats } from '../../domain/site.js';
import { hardwareSchema } from '../../domain/hardware.js';
import { nameSchema } from '../../domain/ids.js';
import { storeAddressSchema } from '../../domain/store-address.js';

const DEFAULT_SHUT_DOWN_LIMIT_MS = 120_000;
const DEFAULT_FREE_SPACE_FLOOR = 64 * 1024 * 1024;
/** What the system takes for the address of a unix socket, bytes. */
const MAX_SOCKET_PATH = 107;

/** Of the one that guests connect to, in its folder. */
export const NBD_SOCKET_NAME = 'nbd.sock';

const pathSchema = z.string().min(1);
const socketPathSchema = (reserved: number) =>
  pathSchema.refine((path) => Buffer.byteLength(path) + reserved <= MAX_SOCKET_PATH, {
    error: `a path of at most ${MAX_SOCKET_PATH - reserved} bytes, as the system's limit for unix sockets is`,
  });

export const hypervisorConfigSchema = z.strictObject({
  /** Where it keeps what outlives it. Nobody else may use it at the same time. */
  stateFolder: pathSchema,
  /** Unix socket of the control interface. */
  controlSocket: socketPathSchema(0),
  /** Folder of the unix socket that guests connect to. */
  nbdSocketFolder: socketPathSchema(NBD_SOCKET_NAME.length + 1),
  /** Tracking stops when a volume with change logs has less free space, bytes. */
  freeSpaceFloorBytes: z.int().min(0).default(DEFAULT_FREE_SPACE_FLOOR),
  vms: z
    .array(
      z.strictObject({
        name: nameSchema,
        disks: z
          .array(
            z.strictObject({
              name: nameSchema,
              path: pathSchema,
              /** Without it: raw, unless the file shows itself to be of another format. */
              format: z.enum(diskFormats).exactOptional(),
              /** Served to the guest, and neither tracked nor part of a VM snapshot. */
              excluded: z.boolean().default(false),
            }),
          )
          .min(1),
        /** What it is made of; without it no guest is booted. */
        hardware: hardwareSchema.exactOptional(),
        /** Unix socket of the QEMU guest agent, which freezes the guest for app-consistent cuts. */
        guestAgent: socketPathSchema(0).exactOptional(),
        directBoot: directBootSchema.exactOptional(),
      }),
    )
    .default([]),
  /** Given: this is compute at the recovery site, its VMs are made from recovery points in this store. */
  recovery: z
    .strictObject({
      store: storeAddressSchema,
      /** By name of the VM. */
      directBoots: z.record(z.string(), directBootSchema).default({}),
    })
    .optional(),
  /** Given: guests are booted. */
  guests: z
    .strictObject({
      /** The program. */
      qemu: pathSchema,
      /** How long a guest that is asked to shut down may take, ms. */
      shutDownLimitMs: z.int().min(1).default(DEFAULT_SHUT_DOWN_LIMIT_MS),
    })
    .optional(),
});
export type HypervisorConfig = z.infer<typeof hypervisorConfigSchema>;

/** @throws Error that names the file and what is wrong in it. */
export async function readHypervisorConfig(file: string): Promise<HypervisorConfig> {
  let value: unknown;
  try {
    value = JSON.parse(await readFile(file, 'utf8'));
  } catch (error) {
    throw new Error(`${file}: ${(error as Error).message}`, { cause: error });
  }
  return parseHypervisorConfig(file, value);
}

/** @param of whom it is, or where it was read. @throws Error that names that, and what is wrong. */
export function parseHypervisorConfig(of: string, value: unknown): HypervisorConfig {
  const { data, error } = hypervisorConfigSchema.safeParse(value);
  if (error) throw new Error(`${of}: ${z.prettifyError(error)}`, { cause: error });
  return data;
}
