/**
 * Files that are there whole or not at all. Everything is written to a temporary file, synced, given its name, and the
 * folders that lead to the name are synced too. A temporary file is locked by its writer: an unlocked one is left over
 * from a process that died, and is swept when a store is opened.
 */
import { randomUUID } from 'node:crypto';
import { link, mkdir, open, readdir, rename, rm, rmdir, stat, type FileHandle } from 'node:fs/promises';
import path from 'node:path';
import { tryLockFile } from '../../disks/native.js';
import { writeAt } from '../../disks/positional-io.js';
import { syncFolder } from '../../disks/sync-folder.js';
import { errnoOf, unlessMissing } from './folder-errors.js';
import { isWorkFolder } from './names.js';

/** Milliseconds that a temporary file stays untouched, locked or not: it is created a moment before it is locked. */
const SWEEP_AGE = 60_000;

/** A file or folder nobody sees yet. */
export interface Temporary {
  readonly path: string;
  readonly handle: FileHandle;
}

export class DurableFiles {
  constructor(
    private readonly root: string,
    private readonly temporaryFolder: string,
  ) {}

  /** Gives `work` an empty file; what has not been published when it ends is removed. */
  async withTemporaryFile<T>(work: (file: Temporary) => Promise<T>): Promise<T> {
    return await this.withTemporary(async (at) => await open(at, 'wx+', 0o600), work);
  }

  /** As `withTemporaryFile`, for a folder. */
  async withTemporaryFolder<T>(work: (folder: Temporary) => Promise<T>): Promise<T> {
    return await this.withTemporary(async (at) => {
      await mkdir(at, 0o700);
      return await open(at, 'r');
    }, work);
  }

  private async withTemporary<T>(create: (at: string) => Promise<FileHandle>, work: (made: Temporary) => Promise<T>) {
    await this.make(this.temporaryFolder);
    const at = path.join(this.temporaryFolder, randomUUID());
    try {
      const handle = await create(at);
      try {
        if (!tryLockFile(handle.fd, 'exclusive')) throw new Error(`the new file ${at} is locked by another process`);
        return await work({ path: at, handle });
      } finally {
        await handle.close();
      }
    } finally {
      await removeIfThere(at);
    }
  }

  /** Gives a temporary, already synced, its name, in place of a file that has it. */
  async publish(made: Temporary, target: string): Promise<void> {
    await this.inFolder(path.dirname(target), async () => await renameOver(made.path, target));
    await this.syncFolders(path.dirname(target));
  }

  /** @returns false, and changes nothing, when the name is taken. Of two who try at once exactly one succeeds. */
  async publishIfAbsent(made: Temporary, target: string): Promise<boolean> {
    const published = await this.inFolder(path.dirname(target), async () => {
      try {
        await link(made.path, target);
        return true;
      } catch (error) {
        if (errnoOf(error) === 'EEXIST') return false;
        throw error;
      }
    });
    // Also when it was there: whoever put it may have died before this.
    await this.syncFolders(path.dirname(target));
    return published;
  }

  /** Replaces a file at once and durably. */
  async replace(target: string, data: Buffer): Promise<void> {
    await this.withTemporaryFile(async (file) => {
      await writeAt(file.handle, data, 0);
      await file.handle.sync();
      await this.publish(file, target);
    });
  }

  /** Removes a file and the folders that are empty then, up to `keep`. One that is not there: nothing. */
  async remove(target: string, keep: string): Promise<void> {
    await this.#putAside(target);
    let folder = path.dirname(target);
    while (folder !== keep && (await removeIfEmpty(folder))) folder = path.dirname(folder);
    await this.syncFolders(folder);
  }

  /** Takes a file or a folder out of sight at once, durably, and removes it at leisure. One that is not there: nothing. */
  async discard(target: string): Promise<void> {
    await this.#putAside(target);
    await syncFolder(path.dirname(target));
  }

  /** Removed by way of the temporary folder: who is shut out of that can't remove anything any more. */
  async #putAside(target: string): Promise<void> {
    await this.make(this.temporaryFolder);
    const aside = path.join(this.temporaryFolder, randomUUID());
    const moved = await unlessMissing(
      rename(target, aside).then(() => true),
      false,
    );
    if (moved) await removeIfThere(aside);
  }

  /**
   * Puts a file in the place of the temporary folder, for good, and removes what was in it: whatever is to be given its name,
   * or removed, by way of it fails from when this resolves on, however far its writer had come. Durable; repeated: nothing.
   */
  async close(): Promise<void> {
    const folder = this.temporaryFolder;
    await this.make(path.dirname(folder));
    for (;;) {
      const found = await unlessMissing(stat(folder), undefined);
      if (found?.isFile()) return await syncFolder(path.dirname(folder));
      const aside = path.join(path.dirname(folder), randomUUID());
      if (found) {
        await unlessMissing(rename(folder, aside), undefined);
        await removeIfThere(aside);
      } else {
        // A writer may make the folder anew meanwhile, which is why this is a loop.
        await open(folder, 'wx', 0o600).then(
          async (file) => await file.close(),
          (error: unknown) => {
            if (errnoOf(error) !== 'EEXIST') throw error;
          },
        );
      }
    }
  }

  /** Makes a folder that is to stay, and those that lead to it. */
  async makeFolder(folder: string): Promise<void> {
    if (await this.make(folder)) await this.syncFolders(path.dirname(folder));
  }

  /**
   * Makes the folder's entries durable, and the folder's own name, and so on up to the store. A folder that is gone was
   * empty, and removed by another process: the entry it was is its parent's matter.
   */
  async syncFolders(folder: string): Promise<void> {
    for (let at = folder; ; at = path.dirname(at)) {
      await unlessMissing(syncFolder(at), undefined);
      if (at === this.root || at === path.dirname(at)) return;
    }
  }

  /** Removes what writers that died have left. A store that may only be read keeps it. */
  async sweep(): Promise<void> {
    await this.sweepFolder(this.temporaryFolder);
  }

  private async sweepFolder(folder: string): Promise<void> {
    for (const entry of await unlessMissing(readdir(folder, { withFileTypes: true }), [])) {
      const at = path.join(folder, entry.name);
      try {
        if (!isWorkFolder(entry.name)) await this.sweepOne(at);
        else if (entry.isDirectory()) await this.sweepFolder(at);
      } catch (error) {
        if (!['ENOENT', 'EROFS', 'EACCES', 'EPERM'].includes(errnoOf(error) ?? '')) throw error;
      }
    }
  }

  private async sweepOne(at: string): Promise<void> {
    const { mtimeMs } = await stat(at);
    if (Date.now() - mtimeMs < SWEEP_AGE) return;
    const handle = await open(at, 'r');
    try {
      if (tryLockFile(handle.fd, 'exclusive')) await rm(at, { recursive: true, force: true });
    } finally {
      await handle.close();
    }
  }

  /**
   * Makes a folder and those that lead to it, but never the store's own: one that went away is not begun anew.
   * @returns whether the folder is new.
   */
  private async make(folder: string): Promise<boolean> {
    const parent = path.dirname(folder);
    for (let attempt = 0; ; attempt += 1) {
      try {
        await mkdir(folder, 0o700);
        return true;
      } catch (error) {
        const code = errnoOf(error);
        const found = code === 'EEXIST' ? await unlessMissing(stat(folder), undefined) : undefined;
        if (found?.isDirectory()) return false;
        // Another process may remove it, or its parent, empty as it is, before there is something in it.
        if (found || (code !== 'EEXIST' && code !== 'ENOENT') || attempt === 100) throw error;
        if (code === 'ENOENT' && parent === this.root) throw error;
        if (code === 'ENOENT') await this.make(parent);
      }
    }
  }

  /** Another process may remove the folder, empty as it is, between its creation and its first file. */
  private async inFolder<T>(folder: string, work: () => Promise<T>): Promise<T> {
    for (let attempt = 0; ; attempt += 1) {
      await this.make(folder);
      try {
        return await work();
      } catch (error) {
        if (errnoOf(error) !== 'ENOENT' || attempt === 100) throw error;
      }
    }
  }
}

/** Removes a temporary file or folder; somebody else may have done that, or closed the folder it was in. */
async function removeIfThere(at: string): Promise<void> {
  try {
    await rm(at, { recursive: true, force: true });
  } catch (error) {
    if (errnoOf(error) !== 'ENOTDIR') throw error;
  }
}

/** In place of a folder that is empty, too: somebody made one of that name. */
async function renameOver(from: string, target: string): Promise<void> {
  try {
    await rename(from, target);
  } catch (error) {
    if (errnoOf(error) !== 'EISDIR' || !(await removeIfEmpty(target))) throw error;
    await rename(from, target);
  }
}

async function removeIfEmpty(folder: string): Promise<boolean> {
  try {
    await rmdir(folder);
    return true;
  } catch (error) {
    const code = errnoOf(error);
    if (code === 'ENOENT') return true;
    if (code === 'ENOTEMPTY' || code === 'EEXIST') return false;
    throw error;
  }
}

/** Opens, works, closes. */
export async function withFile<T>(at: string, flags: string, work: (handle: FileHandle) => Promise<T>): Promise<T> {
  const handle = await open(at, flags, 0o600);
  try {
    return await work(handle);
  } finally {
    await handle.close();
  }
}
