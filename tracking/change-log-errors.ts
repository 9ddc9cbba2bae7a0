/** Error messages for operators when a change log cannot be created, read or deleted. */
import { NotAFile } from '../disks/open-regular.js';
import { CatalogueError, type FailureCode } from '../domain/errors.js';

const codes: Readonly<Record<string, FailureCode>> = {
  ENOSPC: 'SourceDiskFull',
  EDQUOT: 'SourceDiskFull',
  EACCES: 'AuthorizationFailed',
  EPERM: 'AuthorizationFailed',
  EROFS: 'AuthorizationFailed',
  EIO: 'ReadFailed',
  ENOENT: 'LogBroken',
};

/** Turns an errno of the file system into a catalogue error; other errors are returned unchanged. */
export function logError(error: unknown, path: string): unknown {
  const code = error instanceof NotAFile ? 'LogBroken' : codes[(error as NodeJS.ErrnoException).code ?? ''];
  if (code === undefined || error instanceof CatalogueError) return error;
  return new CatalogueError(code, `${path}: ${(error as Error).message}`, { cause: error });
}
