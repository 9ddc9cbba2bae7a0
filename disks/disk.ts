/** A virtual disk: random access to `size` bytes, whatever the file behind it looks like. */
import type { Range } from '../domain/ranges.js';

export interface ReadableDisk {
  /** Virtual size in bytes, a multiple of 512. */
  readonly size: number;
  /**
   * Fills `target` from `offset`.
   * @throws CatalogueError ReadFailed when the file cannot be read, BrokenChain when it is not what it should be.
   */
  read(target: Buffer, offset: number): Promise<void>;
  /**
   * As `read`, past the system's cache where that can be: of what nobody reads again soon, and of holes, which would fill
   * the cache with zeroes at a tenth of the speed. Left out: there is no such way.
   */
  readUncached?(target: Buffer, offset: number): Promise<void>;
  /**
   * The parts of a range that may hold anything but zeroes, as far as the file system knows, sorted, without overlap. A disk that cannot tell answers
   * with the whole range.
   */
  dataRanges(range: Range): Promise<Range[]>;
  close(): Promise<void>;
}

export interface VirtualDisk extends ReadableDisk {
  /** Resolves once a process that is killed loses nothing of it; only `flush` makes it outlive the machine. */
  write(data: Buffer, offset: number): Promise<void>;
  /** As writing zeroes; gives the space back where the file system can. */
  writeZeroes(range: Range): Promise<void>;
  /** Resolves once everything written before is on stable storage. */
  flush(): Promise<void>;
  /** Bytes, at most, that changing this range takes beside the disk's own file. Left out: none. */
  growthOf?(range: Range): number;
}
