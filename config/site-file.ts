/** Reads site and plan files, and checks them against the actual files and disks before anything is started. */
import { readFile, stat } from 'node:fs/promises';
import path from 'node:path';
import { openDisk } from '../disks/open-disk.js';
import { limitsExceededBy } from '../domain/disk-limits.js';
import { CatalogueError, failureCatalogue } from '../domain/errors.js';
import { checkPlan, recoveryPlanSchema, type RecoveryPlan } from '../domain/plan.js';
import { checkSite } from '../domain/site-checks.js';
import { siteSchema, type DirectBoot, type Finding, type Site, type SiteDisk } from '../domain/site.js';
import { formatStoreAddress, type StoreAddress } from '../domain/store-address.js';
import { DocumentError, readDocument } from './document.js';
import { decodeText } from './text-file.js';
import { liesInStore } from './lies-in-store.js';

export interface LoadedSite {
  /** The file that was read, as an absolute path. */
  readonly file: string;
  /** The site with all paths absolute. */
  readonly site: Site;
}

const SECTOR_BYTES = 512;
/** Longest path of a unix socket, bytes. */
const MAX_SOCKET_PATH = 107;

/**
 * @param options.disks also checks the disk files: they exist and have the declared format and size, a multiple of 512
 * bytes.
 * @param options.replicas also checks that a replica can hold them. An instance starts without this check, so that its
 * other VMs can be protected.
 * @throws DocumentError that names file, line, path, value and remedy.
 */
export async function loadSite(file: string, options: { disks: boolean; replicas?: boolean }): Promise<LoadedSite> {
  const absolute = path.resolve(file);
  const document = readDocument(await readText(absolute, 'site file'), absolute, siteSchema, checkSite);
  const site = withAbsolutePaths(document.value, path.dirname(absolute));
  if (options.disks) {
    const finding =
      longSocketPath(site) ??
      (await firstBootFinding(site)) ??
      (await firstDiskFinding(site, options.replicas ?? false));
    if (finding) throw document.error(finding);
  }
  return { file: absolute, site };
}

/** @throws DocumentError */
export async function loadPlan(file: string, site: Site): Promise<RecoveryPlan> {
  const absolute = path.resolve(file);
  const text = await readText(absolute, 'recovery plan');
  return readDocument(text, absolute, recoveryPlanSchema, (plan) => checkPlan(plan, site)).value;
}

async function readText(file: string, what: string): Promise<string> {
  let bytes: Buffer;
  try {
    bytes = await readFile(file);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    const problem =
      code === 'ENOENT' ? `this ${what} does not exist` : `the ${what} cannot be read (${code ?? String(error)})`;
    throw new DocumentError(file, 1, '(file)', problem, undefined, 'give the path of an existing, readable file');
  }
  const text = decodeText(bytes);
  if (text !== undefined) return text;
  const problem = `the ${what} is not text in UTF-8, nor in UTF-16 with a byte order mark`;
  throw new DocumentError(file, 1, '(file)', problem, undefined, 'save it in UTF-8');
}

function withAbsolutePaths(site: Site, folder: string): Site {
  const { vault } = site;
  return {
    ...site,
    vault: { ...vault, store: absoluteStore(vault.store, folder) },
    vms: site.vms.map((vm) => ({
      ...vm,
      ...(vm.guestAgent !== undefined && { guestAgent: path.resolve(folder, vm.guestAgent) }),
      ...(vm.directBoot && { directBoot: absoluteBoot(vm.directBoot, folder) }),
      disks: vm.disks.map((disk) => ({ ...disk, path: path.resolve(folder, disk.path) })),
    })),
  };
}

const absoluteBoot = (boot: DirectBoot, folder: string): DirectBoot => ({
  ...boot,
  kernel: path.resolve(folder, boot.kernel),
  ...(boot.initialRamDisk !== undefined && { initialRamDisk: path.resolve(folder, boot.initialRamDisk) }),
});

const absoluteStore = (store: StoreAddress, folder: string): StoreAddress =>
  store.kind === 'embedded' ? { ...store, path: path.resolve(folder, store.path) } : store;

function longSocketPath({ vms }: Site): Finding | undefined {
  const v = vms.findIndex(({ guestAgent }) => Buffer.byteLength(guestAgent ?? '') > MAX_SOCKET_PATH);
  if (v < 0) return undefined;
  return {
    path: ['vms', v, 'guestAgent'],
    message: `the socket's path, ${vms[v]?.guestAgent}, is longer than the ${MAX_SOCKET_PATH} bytes that the system allows`,
    remedy: 'move the socket, or a symbolic link to its folder, to a shorter path',
  };
}

async function firstBootFinding({ guests, vms }: Site): Promise<Finding | undefined> {
  if (guests !== 'qemu') return undefined;
  for (const [v, { directBoot }] of vms.entries()) {
    for (const field of ['kernel', 'initialRamDisk'] as const) {
      const file = directBoot?.[field];
      if (file === undefined || (await stat(file).catch(() => undefined))?.isFile()) continue;
      return {
        path: ['vms', v, 'directBoot', field],
        message: `${file} is not a file`,
        remedy: 'correct the path, which is relative to the site file',
      };
    }
  }
  return undefined;
}

async function firstDiskFinding(site: Site, replicas: boolean): Promise<Finding | undefined> {
  const owners = new Map<string, string>();
  for (const [v, vm] of site.vms.entries()) {
    const replicated: { name: string; size: number }[] = [];
    for (const [d, disk] of vm.disks.entries()) {
      const at = (field: string) => ['vms', v, 'disks', d, field];
      const found = await stat(disk.path).catch(() => undefined);
      if (!found) {
        return {
          path: at('path'),
          message: `the disk file ${disk.path} does not exist`,
          remedy: 'correct the path, which is relative to the site file, or create the disk',
        };
      }
      if (!found.isFile() && !found.isBlockDevice()) {
        return {
          path: at('path'),
          message: `${disk.path} is not a file`,
          remedy: 'give the path of the disk itself: a file or a block device',
        };
      }
      if (await liesInStore(site.vault.store, disk.path)) {
        return {
          path: at('path'),
          message: `${disk.path} is inside the replica store, ${formatStoreAddress(site.vault.store)}`,
          remedy: "use the VM's own disk, not a replica, or move the store to its own folder",
        };
      }
      // A block device is the same whichever device node opens it.
      const identity = found.isBlockDevice() ? `block device ${found.rdev}` : `${found.dev}:${found.ino}`;
      const owner = owners.get(identity);
      if (owner !== undefined) {
        return {
          path: at('path'),
          message: `this is the same file as the disk of ${owner}`,
          remedy: 'give each disk a file of its own',
        };
      }
      owners.set(identity, `${vm.name}/${disk.name}`);
      const size = await virtualSize(disk);
      if (typeof size !== 'number') {
        const { code, detail, message } = size;
        if (code === 'ForeignDiskFormat')
          return { path: at('format'), message: detail, remedy: failureCatalogue[code].remedy };
        const isRaw = disk.format !== 'vhd' && found.isFile();
        if (isRaw && (found.size === 0 || found.size % SECTOR_BYTES !== 0)) {
          return {
            path: at('path'),
            message: `the disk has ${found.size} bytes, which is not a multiple of ${SECTOR_BYTES}`,
            remedy: `resize the file to a multiple of ${SECTOR_BYTES} bytes, or correct its format`,
          };
        }
        return { path: at('format'), message, remedy: 'correct the format, or repair the disk' };
      }
      if (disk.size !== undefined && disk.size !== size) {
        return {
          path: at('size'),
          message: `the disk's virtual size is ${size} bytes`,
          remedy: `write ${size}, or remove the field`,
        };
      }
      if (!disk.excluded) replicated.push({ name: disk.name, size });
    }
    const exceeded = replicas ? limitsExceededBy(replicated)[0] : undefined;
    if (exceeded) {
      const d = vm.disks.findIndex(({ name }) => name === exceeded.disk);
      const { message, remedy } = exceeded;
      return { path: ['vms', v, 'disks', ...(d < 0 ? [] : [d, 'path'])], message, remedy };
    }
  }
  return undefined;
}

/** @returns bytes, or the error. */
async function virtualSize({ path: file, format }: SiteDisk): Promise<number | CatalogueError> {
  try {
    const disk = await openDisk(file, format, { readOnly: true });
    await disk.close();
    return disk.size;
  } catch (error) {
    if (error instanceof CatalogueError) return error;
    throw error;
  }
}
