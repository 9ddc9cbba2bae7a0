/**
 * The identity of a disk file. It distinguishes a file that was changed, or replaced by an older copy, from its state
 * when it was closed; and an open file from another one to which its path leads now.
 */
import type { BigIntStats } from 'node:fs';
import { stat } from 'node:fs/promises';
import { diskError } from './disk-errors.js';
import { openRegular } from './open-regular.js';

export interface FileIdentity {
  /** Time when the content last changed, nanoseconds since 1970. */
  readonly mtimeNs: bigint;
  /** Bytes. */
  readonly size: number;
}

/**
 * The identity of the file on stable storage: data that the system still holds is stored first.
 * @returns undefined for anything but a regular file: the time of a device node says nothing about its content.
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

/** Equal for the same file of this machine, whatever its path, and for the same device, whatever its node. */
export const fileKey = (found: BigIntStats): string =>
  found.isBlockDevice() ? `device ${found.rdev}` : `${found.dev}:${found.ino}`;

/** For the file at a path; undefined if there is none. @throws CatalogueError ReadFailed, AuthorizationFailed */
export async function fileKeyAt(path: string): Promise<string | undefined> {
  try {
    return fileKey(await stat(path, { bigint: true }));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw diskError(error, path, 'read');
  }
}

export const sameIdentity = (a: FileIdentity, b: FileIdentity): boolean => a.mtimeNs === b.mtimeNs && a.size === b.size;
