/**
 * Watches the free space of the folders that replication writes into beside the disks: change logs, and what a VM
 * snapshot keeps. What is about to be written is taken from what was free when somebody looked last.
 */
import { statfs } from 'node:fs/promises';
import { dirname } from 'node:path';
import { formatBytes } from '../domain/bytes.js';

/** How much may be written between two looks, bytes: others fill the volume, too. */
const STEP_BYTES = 8 * 1024 * 1024;

interface Shortage {
  /** For people. */
  readonly detail: string;
  /** Not even half of the floor is left: there is no time to wait for what gives space back by and by. */
  readonly severe: boolean;
}

export class SpaceWatch {
  readonly #folders: readonly string[];
  /** Bytes that may be written before somebody has to look again. */
  #allowance = 0;
  /** Bytes of writes under way, which a look may not see yet. */
  #underWay = 0;

  /** @param floor free space that must be left, bytes. */
  constructor(
    diskPaths: readonly string[],
    private readonly floor: number,
  ) {
    this.#folders = [...new Set(diskPaths.map((path) => dirname(path)))];
  }

  /** Undefined when nothing is short of space. */
  async shortage(): Promise<Shortage | undefined> {
    let least = { free: Infinity, folder: '' };
    for (const folder of this.#folders) {
      const { bavail, bsize } = await statfs(folder);
      if (bavail * bsize < least.free) least = { free: bavail * bsize, folder };
    }
    const { free, folder } = least;
    this.#allowance = Math.min(STEP_BYTES, free - this.floor - this.#underWay);
    if (free >= this.floor) return undefined;
    const detail = `${formatBytes(free)} are free in ${folder}, less than ${formatBytes(this.floor)}`;
    return { detail, severe: free < this.floor / 2 };
  }

  /** Something is about to be written beside the disks; `written` must follow. @returns whether there was room for it. */
  take(bytes: number): boolean {
    this.#underWay += bytes;
    this.#allowance -= bytes;
    return this.#allowance >= 0;
  }

  written(bytes: number): void {
    this.#underWay -= bytes;
  }
}
