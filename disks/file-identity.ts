/** What tells a file that was changed, or replaced by an older copy, from the one that was put down. */
import { open } from 'node:fs/promises';
import { diskError } from './disk-errors.js';

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
    const file = await open(path, 'r');
    try {
      await file.sync();
      const found = await file.stat({ bigint: true });
      return found.isFile() ? { mtimeNs: found.mtimeNs, size: Number(found.size) } : undefined;
    } finally {
      await file.close();
    }
  } catch (error) {
    throw diskError(error, path, 'read');
  }
}

export const sameIdentity = (a: FileIdentity, b: FileIdentity): boolean => a.mtimeNs === b.mtimeNs && a.size === b.size;
