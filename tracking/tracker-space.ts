/**
 * Watches the free space of the folders into which replication writes: change logs and VM snapshots. Planned writes are
 * subtracted from the free space as it was last measured.
 */
import { statfs } from 'node:fs/promises';
import { dirname } from 'node:path';
import { formatBytes } from '../domain/bytes.js';

/** Bytes that may be written between two measurements: other programs fill the volume, too. */
const STEP_BYTES = 8 * 1024 * 1024;

interface Shortage {
  /** For people. */
  readonly detail: string;
  /** Less than half of the floor is left: there is no time to wait for space that is freed gradually. */
  readonly severe: boolean;
}

export class SpaceWatch {
  readonly #folders: readonly string[];
  /** Bytes that may be written before the next measurement. */
  #allowance = 0;
  /** Bytes of writes in progress, which a measurement may not include yet. */
  #underWay = 0;

  /** @param floor free space that must remain, bytes. */
  constructor(
    diskPaths: readonly string[],
    private readonly floor: number,
  ) {
    this.#folders = [...new Set(diskPaths.map((path) => dirname(path)))];
  }

  /** Undefined if there is enough space. */
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

  /** Announces a write beside the disks; call `written` afterwards. @returns whether there is room for it. */
  take(bytes: number): boolean {
    this.#underWay += bytes;
    this.#allowance -= bytes;
    return this.#allowance >= 0;
  }

  written(bytes: number): void {
    this.#underWay -= bytes;
  }
}
