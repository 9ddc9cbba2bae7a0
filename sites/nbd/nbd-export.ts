/** What an NBD server offers under a name: a disk, with what NBD knows beyond one. */
import { CatalogueError, type FailureCode } from '../../domain/errors.js';
import type { Range } from '../../domain/ranges.js';
import type { NbdErrorCode } from './nbd-protocol.js';

/** How far a change has to be when its promise resolves: with `fua` on stable storage. */
export interface Durability {
  readonly fua: boolean;
}

/**
 * Offsets and lengths are multiples of 512 and within `size`; the server sees to that. Calls come many at a time, from
 * several connections, in any order, overlapping if the guests like. A buffer is the server's again once the promise
 * is settled.
 */
export interface NbdExport {
  /** Bytes, a multiple of 512. */
  readonly size: number;
  readonly readOnly?: boolean;
  read(target: Buffer, offset: number): Promise<void>;
  write(data: Buffer, offset: number, durability: Durability): Promise<void>;
  writeZeroes(range: Range, durability: Durability): Promise<void>;
  /** The guest needs the content no longer. Left out: `writeZeroes`, so that what is read back is certain. */
  trim?(range: Range, durability: Durability): Promise<void>;
  /** Resolves once everything acknowledged before is on stable storage. */
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

/** What a guest is told of a failure. */
export const nbdErrorCode = (error: unknown): NbdErrorCode =>
  (error instanceof CatalogueError && errorCodes[error.code]) || 'EIO';
