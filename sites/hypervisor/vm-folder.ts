/** The folder of a VM at the recovery site: made, deleted, and its disks, each an overlay above a recovery point. */
import { mkdir, readdir, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { diskError } from '../../disks/disk-errors.js';
import { syncFolder } from '../../disks/sync-folder.js';
import { CatalogueError } from '../../domain/errors.js';
import type { ReplicaVmSpec } from '../../ports/recovery-compute.js';
import { openReplicaDisk, type PointDisk, type PointDisks } from './replica-disk.js';
import type { DiskOfVm } from './vm-chain.js';

/** Prefix of a folder being deleted: it is renamed in one step and then removed, however long that takes. */
export const DELETED_PREFIX = '.deleted-';

export type DiskAbovePoint = DiskOfVm & { readonly size: number; readonly point: PointDisk };

/** Creates the folder of all VMs if necessary. Removes what is left of deleted VMs. @returns the names of the others. */
export async function openVmFolders(folder: string): Promise<string[]> {
  await mkdir(folder, { recursive: true, mode: 0o700 });
  const names: string[] = [];
  for (const entry of await readdir(folder, { withFileTypes: true })) {
    if (entry.name.startsWith(DELETED_PREFIX)) await rm(join(folder, entry.name), { recursive: true, force: true });
    else if (entry.isDirectory()) names.push(entry.name);
  }
  return names;
}

/** Replaces a folder that an attempt that died has left. @returns its path. @throws CatalogueError */
export async function makeVmFolder(folder: string, name: string): Promise<string> {
  const path = join(folder, name);
  try {
    await rm(path, { recursive: true, force: true });
    await mkdir(path, { mode: 0o700 });
    await syncFolder(folder);
    return path;
  } catch (error) {
    throw diskError(error, path, 'write');
  }
}

/** @throws CatalogueError */
export async function deleteVmFolder(folder: string, name: string): Promise<void> {
  const deleted = join(folder, `${DELETED_PREFIX}${name}`);
  try {
    await rm(deleted, { recursive: true, force: true });
    await rename(join(folder, name), deleted);
    await syncFolder(folder);
    await rm(deleted, { recursive: true, force: true });
  } catch (error) {
    throw diskError(error, deleted, 'write');
  }
}

/** @param folder of this VM. @throws CatalogueError InvalidReplicaState */
export function disksAbove(folder: string, spec: ReplicaVmSpec, store: PointDisks): DiskAbovePoint[] {
  return spec.disks.map(({ name, replica, snapshot }) => {
    const described = spec.description.disks.find((disk) => disk.name === name);
    if (!described) throw new CatalogueError('InvalidReplicaState', `${spec.description.vm} has no disk ${name}`);
    const file = join(folder, name);
    const [path, { size }, point] = [`${file}.avhd`, described, { replica, snapshot }];
    const openBase = () => openReplicaDisk(path, size, point, store);
    return { name, path, overlay: `${file}.snapshot`, format: 'overlay', size, point, openBase };
  });
}
