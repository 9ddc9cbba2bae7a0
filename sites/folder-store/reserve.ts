/**
 * Space that is kept back in a file of its own, so that a full store can still be fenced, failed over and pruned: what is
 * written for that is small. Several processes may give back and fill up at once; at worst each does it for the other.
 */
import { randomBytes } from 'node:crypto';
import { constants } from 'node:fs';
import { open, statfs } from 'node:fs/promises';
import path from 'node:path';
import { writeAt } from '../../disks/positional-io.js';
import { errnoOf, unlessMissing } from './folder-errors.js';

/** Bytes: some hundred fences and records. A small file system gives up no more than a hundredth. */
const WHOLE = 4 * 1024 * 1024;
const SMALL_SHARE = 100;
/** Bytes given back at once. */
const STEP = 64 * 1024;

/** Bytes that records leave to fences. */
const LEFT_TO_FENCES = 256 * 1024;
/** It is filled while there is so many times as much free. */
const ROOM = 4;

export class SpaceReserve {
  constructor(private readonly file: string) {}

  /**
   * Runs work that can be repeated; each time there is no space left, after some was given back.
   * @param what small records, and what makes room, leave a part to fences.
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

  /** Fills the reserve where there is room to spare. That it can't be is no failure of what is done in the store. */
  async fill(): Promise<void> {
    try {
      const { blocks, bavail, bsize } = await statfs(path.dirname(this.file));
      const bytes = Math.min(WHOLE, Math.floor((blocks * bsize) / SMALL_SHARE / STEP) * STEP);
      if (bavail * bsize < ROOM * bytes) return;
      const file = await open(this.file, constants.O_RDWR | constants.O_CREAT, 0o600);
      try {
        const { size } = await file.stat();
        if (size >= bytes) return;
        // Not zeroes, which a file system may keep without giving them space.
        await writeAt(file, randomBytes(bytes - size), size);
        await file.sync();
      } finally {
        await file.close();
      }
    } catch (error) {
      if (errnoOf(error) === undefined) throw error;
    }
  }

  /** @returns whether there was anything to give back. */
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
