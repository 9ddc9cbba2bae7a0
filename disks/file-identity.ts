/**
 * What tells a file that was changed, or replaced by an older copy, from the one that was put down; and an open file
 * from another one that its path leads to by now.
 */
import type { BigIntStats } from 'node:fs';
import { stat } from 'node:fs/promises';
import { diskError } from './disk-errors.js';
import { openRegular } from './open-regular.js';

export interface FileIdentity {
  /** Time of the last change of content, nanoseconds since 1970. */
  readonly mtimeNs: bigint;
  /** Bytes. */
  readonly size: number;
}

/**
 * As the file is on stable storage: what the system still holds of it is stored first.
 * @returns undefined for anything but a regular file: the time of a device node says nothing of its content.
 * @throws CatalogueError DiskMissing, ReadFailed, AuthorizationFailed
 */
export async function identifyFile(path: string): Promise<FileIdentity | undefined> {
  try {
    const file = await openRegular(path, 'read', { devices: true });
    try {
      await file.sync();
      return identityOf(await file.stat({ bigint: true }));
    } finally {
      await file.close();
    }
  } catch (error) {
    throw diskError(error, path, 'read');
  }
}

/** @returns undefined for anything but a regular file. */
export const identityOf = (found: BigIntStats): FileIdentity | undefined =>
  found.isFile() ? { mtimeNs: found.mtimeNs, size: Number(found.size) } : undefined;

/** The same for the same file of this machine, however it is called, and for the same device, whatever its node is. */
export const fileKey = (found: BigIntStats): string =>
  found.isBlockDevice() ? `device ${found.rdev}` : `${found.dev}:${found.ino}`;

/** Of the file a path leads to; undefined where it leads to none. @throws CatalogueError ReadFailed, AuthorizationFailed */
export async function fileKeyAt(path: string): Promise<string | undefined> {
  try {
    return fileKey(await stat(path, { bigint: true }));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw diskError(error, path, 'read');
  }
}

export const sameIdentity = (a: FileIdentity, b: FileIdentity): boolean => a.mtimeNs === b.mtimeNs && a.size === b.size;
