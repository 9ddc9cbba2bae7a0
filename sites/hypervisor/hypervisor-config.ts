/**
 * The configuration of a hypervisor process: a JSON file. Paths are used as they are; relative ones start at the
 * working directory.
 */
import { readFile } from 'node:fs/promises';
import { z } from 'zod';
import { directBootSchema, diskFormats } from '../../domain/site.js';
import { hardwareSchema } from '../../domain/hardware.js';
import { nameSchema } from '../../domain/ids.js';
import { storeAddressSchema } from '../../domain/store-address.js';

const DEFAULT_SHUT_DOWN_LIMIT_MS = 120_000;
const DEFAULT_FREE_SPACE_FLOOR = 64 * 1024 * 1024;
/** The operating system's limit for the path of a unix socket, bytes. */
const MAX_SOCKET_PATH = 107;

/** File name of the NBD socket that guests connect to. */
export const NBD_SOCKET_NAME = 'nbd.sock';

const pathSchema = z.string().min(1);
const socketPathSchema = (reserved: number) =>
  pathSchema.refine((path) => Buffer.byteLength(path) + reserved <= MAX_SOCKET_PATH, {
    error: `a path of at most ${MAX_SOCKET_PATH - reserved} bytes, as the system's limit for unix sockets is`,
  });

export const hypervisorConfigSchema = z.strictObject({
  /** Folder for data that outlives the process. Only one process may use it at a time. */
  stateFolder: pathSchema,
  /** Unix socket of the control interface. */
  controlSocket: socketPathSchema(0),
  /** Folder of the unix socket that guests connect to. */
  nbdSocketFolder: socketPathSchema(NBD_SOCKET_NAME.length + 1),
  /** Tracking stops when a volume that holds change logs has less free space than this, bytes. */
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
              /** Default: raw, unless the file has the signature of another format. */
              format: z.enum(diskFormats).exactOptional(),
              /** Served to the guest, but neither tracked nor part of a VM snapshot. */
              excluded: z.boolean().default(false),
            }),
          )
          .min(1),
        /** The virtual hardware; without it no guest is booted. */
        hardware: hardwareSchema.exactOptional(),
        /** Unix socket of the QEMU guest agent, which freezes the guest for app-consistent cuts. */
        guestAgent: socketPathSchema(0).exactOptional(),
        directBoot: directBootSchema.exactOptional(),
        /** By name of the adapter, the network that it is connected to. */
        networks: z.record(z.string(), z.string()).default({}),
      }),
    )
    .default([]),
  /** If present, this process is compute at the recovery site: it makes its VMs from recovery points in this store. */
  recovery: z
    .strictObject({
      store: storeAddressSchema,
      /** Keyed by VM name. */
      directBoots: z.record(z.string(), directBootSchema).default({}),
    })
    .optional(),
  /** If present, guests are booted. */
  guests: z
    .strictObject({
      /** Path of the QEMU program. */
      qemu: pathSchema,
      /** How long a guest may take to shut down after it was asked to, ms. */
      shutDownLimitMs: z.int().min(1).default(DEFAULT_SHUT_DOWN_LIMIT_MS),
      /** Guests of the same scope reach each other on networks of the same name. */
      networkScope: z.string().min(1),
    })
    .optional(),
});
export type HypervisorConfig = z.infer<typeof hypervisorConfigSchema>;

/** @throws Error that names the file and the fault in it. */
export async function readHypervisorConfig(file: string): Promise<HypervisorConfig> {
  let value: unknown;
  try {
    value = JSON.parse(await readFile(file, 'utf8'));
  } catch (error) {
    throw new Error(`${file}: ${(error as Error).message}`, { cause: error });
  }
  return parseHypervisorConfig(file, value);
}

/** @param of file or VM named in the error. @throws Error that names it and the fault. */
export function parseHypervisorConfig(of: string, value: unknown): HypervisorConfig {
  const { data, error } = hypervisorConfigSchema.safeParse(value);
  if (error) throw new Error(`${of}: ${z.prettifyError(error)}`, { cause: error });
  return data;
}
