/** A virtual disk: random access to `size` bytes, whatever the format of the file behind it. */
import type { Range } from '../domain/ranges.js';

export interface ReadableDisk {
  /** Virtual size in bytes, a multiple of 512. */
  readonly size: number;
  /**
   * Fills `target` from `offset`.
   * @throws CatalogueError ReadFailed if the file cannot be read, BrokenChain if it is not as it should be.
   */
  read(target: Buffer, offset: number): Promise<void>;
  /**
   * As `read`, but past the system's cache if possible: for data that will not be read again soon, and for holes, which
   * would fill the cache with zeroes at a tenth of the speed. Missing if there is no such way.
   */
  readUncached?(target: Buffer, offset: number): Promise<void>;
  /**
   * The parts of a range that may contain anything but zeroes, as far as the file system knows, sorted, without
   * overlap. A disk that does not know returns the whole range.
   */
  dataRanges(range: Range): Promise<Range[]>;
  close(): Promise<void>;
}

export interface VirtualDisk extends ReadableDisk {
  /**
   * Resolves when a killed process can no longer lose the data; only `flush` protects it against the loss of the
   * machine.
   */
  write(data: Buffer, offset: number): Promise<void>;
  /** Equivalent to writing zeroes; frees the space if the file system can. */
  writeZeroes(range: Range): Promise<void>;
  /** Resolves when everything written before is on stable storage. */
  flush(): Promise<void>;
  /** Most bytes that changing this range takes in addition to the disk's own file. Missing: none. */
  growthOf?(range: Range): number;
}
