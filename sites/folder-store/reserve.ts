/**
 * Space that is reserved in a file, so that a full store can still be fenced, failed over and pruned, which needs
 * little space. Several processes may release and refill it at the same time; at worst, they do it for each other.
 */
import { randomBytes } from 'node:crypto';
import { constants } from 'node:fs';
import { open, statfs } from 'node:fs/promises';
import path from 'node:path';
import { writeAt } from '../../disks/positional-io.js';
import { errnoOf, unlessMissing } from './folder-errors.js';

/** Bytes: enough for several hundred fences and records. On a small file system, at most a hundredth of it. */
const WHOLE = 4 * 1024 * 1024;
const SMALL_SHARE = 100;
/** Bytes released in one step. */
const STEP = 64 * 1024;

/** Bytes that records leave for fences. */
const LEFT_TO_FENCES = 256 * 1024;
/** The reserve is filled while this many times its size is free. */
const ROOM = 4;

export class SpaceReserve {
  constructor(private readonly file: string) {}

  /**
   * Runs repeatable work, and repeats it after releasing some space whenever there is none left.
   * @param what small records, and deletions that make room, leave a part of the reserve for fences.
   */
  async spend<T>(what: 'fence' | 'record', work: () => Promise<T>): Promise<T> {
    for (;;) {
      try {
        return await work();
      } catch (error) {
        if (!['ENOSPC', 'EDQUOT'].includes(errnoOf(error) ?? '') || !(await this.#giveBack(what))) throw error;
      }
    }
  }

  /** Fills the reserve if there is enough space. Failing to do so does not fail the current operation. */
  async fill(): Promise<void> {
    try {
      const { blocks, bavail, bsize } = await statfs(path.dirname(this.file));
      const bytes = Math.min(WHOLE, Math.floor((blocks * bsize) / SMALL_SHARE / STEP) * STEP);
      if (bavail * bsize < ROOM * bytes) return;
      const file = await open(this.file, constants.O_RDWR | constants.O_CREAT, 0o600);
      try {
        const { size } = await file.stat();
        if (size >= bytes) return;
        // Random bytes, because a file system may store zeroes without allocating space.
        await writeAt(file, randomBytes(bytes - size), size);
        await file.sync();
      } finally {
        await file.close();
      }
    } catch (error) {
      if (errnoOf(error) === undefined) throw error;
    }
  }

  /** @returns whether any space was released. */
  async #giveBack(what: 'fence' | 'record'): Promise<boolean> {
    const file = await unlessMissing(open(this.file, 'r+'), undefined);
    if (!file) return false;
    try {
      const { size } = await file.stat();
      const left = what === 'fence' ? 0 : LEFT_TO_FENCES;
      if (size <= left) return false;
      await file.truncate(Math.max(left, size - STEP));
      await file.sync();
      return true;
    } finally {
      await file.close();
    }
  }
}
