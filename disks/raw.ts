/**
 * A disk whose bytes are stored one to one in a file: a raw image, a block device, or the part of a fixed VHD before
 * its footer.
 */
import type { FileHandle } from 'node:fs/promises';
import { CatalogueError } from '../domain/errors.js';
import { end, intersect, splitRange, type Range } from '../domain/ranges.js';
import type { VirtualDisk } from './disk.js';
import { fitsDirectIo, openDirect, readDirect } from './direct-io.js';
import { diskError } from './disk-errors.js';
import { fileKey, identityOf, type FileIdentity } from './file-identity.js';
import { fileSize } from './file-size.js';
import { dataRanges, punchHole } from './native.js';
import { openRegular } from './open-regular.js';
import { readAt, writeAt } from './positional-io.js';
import { SyncedFile } from './synced-file.js';

const zeroes = Buffer.alloc(1024 * 1024);

export class RawDisk implements VirtualDisk {
  /** The same file, for reading past the cache; undefined if that is not supported. */
  #direct: Promise<FileHandle | undefined> | undefined;
  readonly #synced: SyncedFile;

  /** @param size bytes from the beginning of the file that belong to the disk. */
  constructor(
    private readonly file: FileHandle,
    readonly path: string,
    readonly size: number,
  ) {
    this.#synced = new SyncedFile(file);
  }

  /** @throws CatalogueError DiskMissing, BrokenChain if the file is not a whole number of sectors. */
  static async open(path: string, options: { readOnly?: boolean } = {}): Promise<RawDisk> {
    const file = await openDiskFile(path, options.readOnly ?? false);
    const size = await sizeOrClose(file, path);
    if (size > 0 && size % 512 === 0) return new RawDisk(file, path, size);
    await file.close();
    throw new CatalogueError('BrokenChain', `${path}: ${size} bytes is not a multiple of 512`);
  }

  async read(target: Buffer, offset: number): Promise<void> {
    this.#check(offset, target.length);
    const length = await this.#do('read', () => readAt(this.file, target, offset));
    if (length < target.length) {
      throw new CatalogueError('BrokenChain', `${this.path}: the file ends at byte ${offset + length} of ${this.size}`);
    }
  }

  async readUncached(target: Buffer, offset: number): Promise<void> {
    this.#check(offset, target.length);
    if (fitsDirectIo(target, offset)) {
      // Opens the same file, wherever its path leads now.
      this.#direct ??= openDirect(`/proc/self/fd/${this.file.fd}`, 'read').catch(() => undefined);
      const direct = await this.#direct;
      if (direct && (await this.#do('read', () => readDirect(direct, target, offset))) === target.length) return;
    }
    await this.read(target, offset);
  }

  async write(data: Buffer, offset: number): Promise<void> {
    this.#check(offset, data.length);
    await this.#do('write', () => writeAt(this.file, data, offset));
  }

  async writeZeroes(range: Range): Promise<void> {
    this.#check(range.offset, range.length);
    await this.#do('write', async () => {
      if (await punchHole(this.file.fd, range)) return;
      for (const piece of splitRange(range, zeroes.length)) {
        await writeAt(this.file, zeroes.subarray(0, piece.length), piece.offset);
      }
    });
  }

  /** Frees the space of a range if the file system can; the content of the range is undefined afterwards. */
  async discard(range: Range): Promise<void> {
    this.#check(range.offset, range.length);
    await this.#do('write', () => punchHole(this.file.fd, range));
  }

  async dataRanges(range: Range): Promise<Range[]> {
    const within = intersect(range, { offset: 0, length: this.size });
    return within ? this.#do('read', async () => dataRanges(this.file.fd, within)) : [];
  }

  /**
   * After a failure, it fails until the disk is opened again: the system reports only once that it could not store
   * data.
   */
  async flush(): Promise<void> {
    await this.#do('write', () => this.#synced.sync());
  }

  /** The identity of the open file after everything written to it is stored. @returns undefined for a device. */
  async identify(): Promise<FileIdentity | undefined> {
    await this.flush();
    return this.#do('read', async () => identityOf(await this.file.stat({ bigint: true })));
  }

  /** Identifies the open file, wherever its path leads now. See `fileKey`. */
  fileKey(): Promise<string> {
    return this.#do('read', async () => fileKey(await this.file.stat({ bigint: true })));
  }

  async close(): Promise<void> {
    await (await this.#direct)?.close();
    await this.file.close();
  }

  #check(offset: number, length: number): void {
    if (offset < 0 || length < 0 || end({ offset, length }) > this.size) {
      throw new RangeError(`${this.path}: bytes ${offset}+${length} are not within the disk of ${this.size}`);
    }
  }

  async #do<T>(doing: 'read' | 'write', action: () => Promise<T>): Promise<T> {
    try {
      return await action();
    } catch (error) {
      throw diskError(error, this.path, doing);
    }
  }
}

async function sizeOrClose(file: FileHandle, path: string): Promise<number> {
  try {
    return await fileSize(file);
  } catch (error) {
    await file.close();
    throw diskError(error, path, 'read');
  }
}

/**
 * @throws CatalogueError DiskMissing, BrokenChain (not a file), AuthorizationFailed and other errors of `diskError`.
 */
export async function openDiskFile(path: string, readOnly: boolean): Promise<FileHandle> {
  try {
    return await openRegular(path, readOnly ? 'read' : 'read and write', { devices: true });
  } catch (error) {
    throw diskError(error, path, 'read');
  }
}
