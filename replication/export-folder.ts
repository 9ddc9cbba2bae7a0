/**
 * The folder that an export is written to: one export at a time, begun anew when one has died, and nothing in it written
 * through a link that somebody else has put there.
 */
import { constants } from 'node:fs';
import { open, rename, rm, stat, type FileHandle } from 'node:fs/promises';
import path from 'node:path';
import { diskError } from '../disks/disk-errors.js';
import { makeFolder } from '../disks/make-folder.js';
import { tryLockFile } from '../disks/native.js';
import { syncFolder } from '../disks/sync-folder.js';

/** The target holds something that is not half an export. */
export class ExportRefused extends Error {
  override readonly name = 'ExportRefused';
}

const MARKER = '.export-unfinished';

/** @returns the marker, locked: two exports into one folder would write over each other. */
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
  // Of an attempt that died, and perhaps of another state.
  for (const target of taken) await rm(target);
  return marker;
}

/** What lies there is a whole export now. */
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

/** A file nobody else has made, in place of what an attempt that died has left: what lies there is never written through. */
async function openFresh(file: string): Promise<FileHandle> {
  await rm(file, { force: true });
  return await openOwn(file, constants.O_RDWR | constants.O_EXCL);
}

/** Made where it is not there. @throws ExportRefused when the name is a link: it leads to a file of somebody's choice. */
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

/** Undefined when there is no such file. */
async function sizeOf(file: string): Promise<number | undefined> {
  return await stat(file).then(
    ({ size }) => size,
    (error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT') return undefined;
      throw error;
    },
  );
}
