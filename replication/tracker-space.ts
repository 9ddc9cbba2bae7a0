/** Watches the free space of the folders that change logs grow in. */
import { statfs } from 'node:fs/promises';
import { dirname } from 'node:path';
import { formatBytes } from '../domain/bytes.js';

/** How much may be appended between two looks. */
const CHECK_BYTES = 8 * 1024 * 1024;

export class SpaceWatch {
  readonly #folders: readonly string[];
  #unchecked = 0;

  /** @param floor free space that must be left, bytes. */
  constructor(
    diskPaths: readonly string[],
    private readonly floor: number,
  ) {
    this.#folders = [...new Set(diskPaths.map((path) => dirname(path)))];
  }

  /** What is short of space, for people; undefined when nothing is. */
  async shortage(): Promise<string | undefined> {
    for (const folder of this.#folders) {
      const { bavail, bsize } = await statfs(folder);
      const free = bavail * bsize;
      if (free < this.floor) return `${formatBytes(free)} are free in ${folder}, less than ${formatBytes(this.floor)}`;
    }
    return undefined;
  }

  /** Whether it is time to look again, as bytes have been appended. */
  isDue(bytes: number): boolean {
    this.#unchecked += bytes;
    if (this.#unchecked < CHECK_BYTES) return false;
    this.#unchecked = 0;
    return true;
  }
}
