/**
 * The folder to which an export is written. Only one export at a time uses it, an interrupted one is begun again, and
 * nothing is written through a link that another user has put there.
 */
import { constants } from 'node:fs';
import { open, rename, rm, stat, type FileHandle } from 'node:fs/promises';
import path from 'node:path';
import { diskError } from '../disks/disk-errors.js';
import { makeFolder } from '../disks/make-folder.js';
import { tryLockFile } from '../disks/native.js';
import { syncFolder } from '../disks/sync-folder.js';

/** The target contains something other than an unfinished export. */
export class ExportRefused extends Error {
  override readonly name = 'ExportRefused';
}

const MARKER = '.export-unfinished';

/** @returns the marker, locked: two exports into one folder would overwrite each other. */
export async function claimFolder(folder: string, targets: readonly string[]): Promise<FileHandle> {
  try {
    await makeFolder(folder, 0o700);
  } catch (error) {
    throw new ExportRefused(`cannot write to ${folder}: ${(error as Error).message}`, { cause: error });
  }
  const isResumed = (await sizeOf(path.join(folder, MARKER))) !== undefined;
  const taken: string[] = [];
  for (const target of targets) if (((await sizeOf(target)) ?? 0) > 0) taken.push(target);
  if (taken.length > 0 && !isResumed)
    throw new ExportRefused(`${taken[0]} already exists and is not empty; choose an empty folder`);
  const marker = await openOwn(path.join(folder, MARKER), constants.O_WRONLY | constants.O_APPEND);
  if (!tryLockFile(marker.fd, 'exclusive')) {
    await marker.close();
    throw new ExportRefused(`another export is writing to ${folder}`);
  }
  await marker.sync();
  await syncFolder(folder);
  // Files of an interrupted export, perhaps of another state.
  for (const target of taken) await rm(target);
  return marker;
}

/** The folder contains a complete export now. */
export async function releaseFolder(folder: string): Promise<void> {
  await rm(path.join(folder, MARKER));
  await syncFolder(folder);
}

/** @param size bytes. */
export async function openNew(file: string, size: number): Promise<FileHandle> {
  try {
    const handle = await openFresh(file);
    await handle.truncate(size);
    return handle;
  } catch (error) {
    throw diskError(error, file, 'write');
  }
}

/** Creates a new file in place of one that an interrupted export has left; never writes through an existing file. */
async function openFresh(file: string): Promise<FileHandle> {
  await rm(file, { force: true });
  return await openOwn(file, constants.O_RDWR | constants.O_EXCL);
}

/**
 * Creates the file if it is missing. @throws ExportRefused if the name is a link, which another user may have pointed
 * anywhere.
 */
async function openOwn(file: string, flags: number): Promise<FileHandle> {
  try {
    return await open(file, flags | constants.O_CREAT | constants.O_NOFOLLOW, 0o600);
  } catch (error) {
    if (!['ELOOP', 'EEXIST'].includes((error as NodeJS.ErrnoException).code ?? '')) throw error;
    throw new ExportRefused(
      `${file} is a link or was just created by another program: export to a folder of your own`,
      {
        cause: error,
      },
    );
  }
}

export async function writeWhole(file: string, data: Buffer): Promise<void> {
  const handle = await openFresh(`${file}.partial`);
  try {
    await handle.writeFile(data);
    await handle.sync();
  } finally {
    await handle.close();
  }
  await rename(`${file}.partial`, file);
}

/** Undefined if there is no such file. */
async function sizeOf(file: string): Promise<number | undefined> {
  return await stat(file).then(
    ({ size }) => size,
    (error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT') return undefined;
      throw error;
    },
  );
}
