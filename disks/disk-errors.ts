/** Translates the operating system's errors about a disk file into the catalogue. */
import { CatalogueError, type FailureCode } from '../domain/errors.js';
import { NotAFile } from './open-regular.js';

const codes: Readonly<Record<string, FailureCode>> = {
  ENOENT: 'DiskMissing',
  ENOTDIR: 'DiskMissing',
  EISDIR: 'BrokenChain',
  ENOSPC: 'SourceDiskFull',
  EDQUOT: 'SourceDiskFull',
  ENOMEM: 'LowMemory',
  EMFILE: 'LowMemory',
  ENFILE: 'LowMemory',
  EACCES: 'AuthorizationFailed',
  EPERM: 'AuthorizationFailed',
  EROFS: 'AuthorizationFailed',
};

const mediumErrors = new Set(['EIO', 'ESTALE', 'ENXIO', 'ENODEV', 'ETIMEDOUT', 'EREMOTEIO', 'EFBIG']);

/**
 * @param doing the direction of a medium error: `read`, or `write` for everything that stores data.
 * @returns a CatalogueError, or the error itself if it is not one that an operator can meet.
 */
export function diskError(error: unknown, path: string, doing: 'read' | 'write'): unknown {
  if (error instanceof CatalogueError) return error;
  if (error instanceof NotAFile) return new CatalogueError('BrokenChain', error.message, { cause: error });
  const { code, message } = error as NodeJS.ErrnoException;
  if (code === undefined) return error;
  const failure =
    codes[code] ?? (mediumErrors.has(code) ? (doing === 'read' ? 'ReadFailed' : 'WriteFailed') : undefined);
  return failure ? new CatalogueError(failure, `${path}: ${message}`, { cause: error }) : error;
}
