/** Finds the files that a hypervisor process keeps for VMs, and removes those that belong to none. */
import { readdir, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { CatalogueError } from '../../domain/errors.js';
import { nameSchema } from '../../domain/ids.js';
import type { VmFileKind, VmFiles } from '../../ports/vm-files.js';
import { DELETED_PREFIX } from './vm-folder.js';
import { findLogs } from '../../tracking/tracker-log-files.js';

/** Bytes that one block of `stat` has. */
const BLOCK = 512;
const STATE_ENDING = '.json';

/** What the files of a VM at the primary site are found by. */
export interface FilesOf {
  readonly name: string;
  readonly disks: readonly { readonly path: string }[];
  /** The epoch in which it is tracked. */
  readonly trackedEpoch: number | undefined;
}

/** @param stateFolder of the hypervisor. @param vms all that it has. */
export async function hypervisorFiles(stateFolder: string, vms: readonly FilesOf[]): Promise<VmFiles[]> {
  const found: VmFiles[] = [];
  for (const { name, disks, trackedEpoch = 0 } of vms) {
    const logs = (await Promise.all(disks.map(({ path }) => findLogs(path).catch(() => [])))).flat();
    const [old, now] = [
      logs.filter(({ epoch }) => epoch < trackedEpoch),
      logs.filter((log) => log.epoch >= trackedEpoch),
    ];
    const overlays = disks.flatMap(({ path }) => [`${path}.avhd`, `${path}.avhd.bitmap`]);
    found.push(
      ...(await filesAt('changeLogs', name, paths(now))),
      ...(await filesAt('oldChangeLogs', name, paths(old))),
      ...(await filesAt('overlays', name, overlays)),
    );
  }
  const known = new Set(vms.map(({ name }) => name));
  for (const vm of await goneVms(stateFolder, known)) {
    found.push(...(await filesAt('vmState', vm, stateFiles(stateFolder, vm))));
  }
  return found;
}

const paths = (logs: readonly { readonly path: string }[]): string[] => logs.map(({ path }) => path);

/** @throws CatalogueError InvalidVmState if they are in use. */
export async function removeHypervisorFiles(
  stateFolder: string,
  vms: readonly FilesOf[],
  kind: VmFileKind,
  vm: string,
): Promise<void> {
  const known = vms.find(({ name }) => name === vm);
  if (kind === 'vmState' && !known) {
    for (const path of stateFiles(stateFolder, vm)) await rm(path, { recursive: true, force: true });
    return;
  }
  // Epochs only rise, so nothing will ever read these again.
  if (kind === 'oldChangeLogs' && known?.trackedEpoch !== undefined) {
    for (const { path: disk } of known.disks) {
      for (const { path, epoch } of await findLogs(disk))
        if (epoch < known.trackedEpoch) await rm(path, { force: true });
    }
    return;
  }
  throw inUse(kind, vm);
}

const stateFiles = (stateFolder: string, vm: string): string[] => [
  join(stateFolder, `${vm}${STATE_ENDING}`),
  join(stateFolder, 'guests', vm),
];

/** VMs of which there are files, but which the hypervisor does not have. */
async function goneVms(stateFolder: string, known: ReadonlySet<string>): Promise<string[]> {
  const states = (await namesIn(stateFolder)).flatMap((name) =>
    name.endsWith(STATE_ENDING) ? [name.slice(0, -STATE_ENDING.length)] : [],
  );
  const guests = await namesIn(join(stateFolder, 'guests'));
  return [...new Set([...states, ...guests])].filter((vm) => nameSchema.safeParse(vm).success && !known.has(vm));
}

/** Call while no VM is created or deleted. @param has whether there is a VM of the name. */
export async function folderFiles(
  folder: string,
  kind: 'vmFolder' | 'testVmFolder',
  has: (name: string) => boolean,
): Promise<VmFiles[]> {
  const entries = await namesIn(folder);
  const names = new Set(
    entries.map((entry) => (entry.startsWith(DELETED_PREFIX) ? entry.slice(DELETED_PREFIX.length) : entry)),
  );
  const found: VmFiles[] = [];
  for (const vm of names) {
    if (!nameSchema.safeParse(vm).success) continue;
    const [whole, deleted] = [join(folder, vm), join(folder, `${DELETED_PREFIX}${vm}`)];
    const unfinished = await filesAt('unfinished', vm, has(vm) ? [deleted] : [whole, deleted]);
    if (!has(vm)) found.push(...unfinished);
    else {
      const made = await stat(join(whole, 'spec.json')).catch(() => undefined);
      const used = await filesAt(kind, vm, [whole]);
      found.push(...used.map((one) => (made ? { ...one, changedAt: made.mtime.toISOString() } : one)), ...unfinished);
    }
  }
  return found;
}

/** Call while no VM is created or deleted. @param has whether there is a VM of the name, whose folder stays. */
export async function removeUnfinished(folder: string, vm: string, has: (name: string) => boolean): Promise<void> {
  await rm(join(folder, `${DELETED_PREFIX}${vm}`), { recursive: true, force: true });
  if (!has(vm)) await rm(join(folder, vm), { recursive: true, force: true });
}

export const inUse = (kind: VmFileKind, vm: string) =>
  new CatalogueError('InvalidVmState', `${kind} of ${vm} can't be removed: the hypervisor needs them`);

/** Nothing if none of them exists. */
async function filesAt(kind: VmFileKind, vm: string, all: readonly string[]): Promise<VmFiles[]> {
  const sizes = (await Promise.all(all.map(sizeOf))).filter((one) => one !== undefined);
  if (sizes.length === 0) return [];
  const bytes = sizes.reduce((sum, size) => sum + size.bytes, 0);
  return [{ kind, vm, bytes, changedAt: new Date(Math.max(...sizes.map(({ at }) => at))).toISOString() }];
}

/** Of a file, or a folder with everything in it; undefined if it does not exist. */
async function sizeOf(path: string): Promise<{ readonly bytes: number; readonly at: number } | undefined> {
  const found = await stat(path).catch(() => undefined);
  if (!found) return undefined;
  const own = { bytes: found.blocks * BLOCK, at: found.mtimeMs };
  if (!found.isDirectory()) return own;
  const inside = await Promise.all((await namesIn(path)).map((name) => sizeOf(join(path, name))));
  // The folder's own time is that of its making or last removal; a guest that writes does not make it younger.
  return { bytes: inside.reduce((sum, one) => sum + (one?.bytes ?? 0), own.bytes), at: own.at };
}

const namesIn = async (folder: string): Promise<string[]> => await readdir(folder).catch(() => []);
