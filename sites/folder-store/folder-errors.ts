/** Translates errors of the file system into the catalogue. */
import { LockTimeout } from '../../disks/native.js';
import { CatalogueError, type FailureCode } from '../../domain/errors.js';

const catalogueCodes: Readonly<Record<string, FailureCode>> = {
  ENOSPC: 'StoreFull',
  EDQUOT: 'StoreFull',
  EIO: 'StoreUnreachable',
  EROFS: 'StoreUnreachable',
  ESTALE: 'StoreUnreachable',
  ENXIO: 'StoreUnreachable',
  ENODEV: 'StoreUnreachable',
  ENOTCONN: 'StoreUnreachable',
  ETIMEDOUT: 'StoreUnreachable',
  EHOSTDOWN: 'StoreUnreachable',
  ECONNREFUSED: 'StoreUnreachable',
  EUCLEAN: 'StoreUnreachable',
  ENOMEM: 'LowMemory',
  EMFILE: 'LowMemory',
  ENFILE: 'LowMemory',
  EACCES: 'AuthorizationFailed',
  EPERM: 'AuthorizationFailed',
  // The store exists (its marker was checked): something inside was moved, removed or is of another kind.
  ENOENT: 'InvalidReplicaState',
  ENOTDIR: 'InvalidReplicaState',
  EISDIR: 'InvalidReplicaState',
  EEXIST: 'InvalidReplicaState',
  ENOTEMPTY: 'InvalidReplicaState',
  ELOOP: 'InvalidReplicaState',
  EFBIG: 'InvalidReplicaState',
};

/** @returns the error to throw: one of the catalogue if possible, otherwise the error itself, which is a bug. */
export function storeError(error: unknown, doing: string): unknown {
  if (error instanceof LockTimeout)
    return new CatalogueError('StoreBusy', `${doing}: ${error.message}`, { cause: error });
  const code = errnoOf(error);
  const catalogueCode = code === undefined ? undefined : catalogueCodes[code];
  if (catalogueCode === undefined) return error;
  return new CatalogueError(catalogueCode, `${doing}: ${(error as Error).message}`, { cause: error });
}

/** The errno name of a system error (`ENOENT`), undefined for any other error. */
export function errnoOf(error: unknown): string | undefined {
  if (!(error instanceof Error) || error instanceof CatalogueError) return undefined;
  const code = (error as NodeJS.ErrnoException).code;
  return typeof code === 'string' && (error as NodeJS.ErrnoException).syscall !== undefined ? code : undefined;
}

/** Awaits `work`; returns `absent` if a file is missing. */
export async function unlessMissing<T, A>(work: Promise<T>, absent: A): Promise<T | A> {
  try {
    return await work;
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return absent;
    throw error;
  }
}
