/** What the operating system says of a disk file, in the words of the catalogue. */
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
 * @param doing tells which way a medium error went: `read`, or `write` for everything that stores.
 * @returns a CatalogueError, or the error itself when it is none an operator can meet.
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
