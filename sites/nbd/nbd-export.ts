/** A disk that an NBD server offers under a name, with NBD's additional operations. */
import { CatalogueError, type FailureCode } from '../../domain/errors.js';
import type { Range } from '../../domain/ranges.js';
import type { NbdErrorCode } from './nbd-protocol.js';

/** How durable a change must be when its promise resolves: with `fua`, on stable storage. */
export interface Durability {
  readonly fua: boolean;
}

/**
 * Offsets and lengths are multiples of 512 and within `size`; the server ensures that. There may be many calls at a
 * time, from several connections, in any order, and overlapping. When the promise settles, the server reuses the
 * buffer.
 */
export interface NbdExport {
  /** Bytes, a multiple of 512. */
  readonly size: number;
  readonly readOnly?: boolean;
  read(target: Buffer, offset: number): Promise<void>;
  write(data: Buffer, offset: number, durability: Durability): Promise<void>;
  writeZeroes(range: Range, durability: Durability): Promise<void>;
  /**
   * The guest no longer needs the content. If missing, `writeZeroes` is used, so that reads return a defined content.
   */
  trim?(range: Range, durability: Durability): Promise<void>;
  /** Resolves when everything acknowledged before is on stable storage. */
  flush(): Promise<void>;
}

const errorCodes: Partial<Record<FailureCode, NbdErrorCode>> = {
  SourceDiskFull: 'ENOSPC',
  StoreFull: 'ENOSPC',
  LowMemory: 'ENOMEM',
  AuthorizationFailed: 'EPERM',
  StaleEpoch: 'EPERM',
  InvalidVmState: 'ESHUTDOWN',
};

/** The error code that a guest gets. */
export const nbdErrorCode = (error: unknown): NbdErrorCode =>
  (error instanceof CatalogueError && errorCodes[error.code]) || 'EIO';
