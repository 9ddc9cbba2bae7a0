/**
 * Files that exist completely or not at all. A file is written under a temporary name, synced, and given its name; then
 * the folders that lead to it are synced. A writer locks its temporary file: an unlocked one was left by a process that
 * died, and is removed when a store is opened.
 */
import { randomUUID } from 'node:crypto';
import { link, mkdir, open, readdir, rename, rm, rmdir, stat, type FileHandle } from 'node:fs/promises';
import path from 'node:path';
import { tryLockFile } from '../../disks/native.js';
import { writeAt } from '../../disks/positional-io.js';
import { syncFolder } from '../../disks/sync-folder.js';
import { errnoOf, unlessMissing } from './folder-errors.js';
import { isWorkFolder } from './names.js';

/** Milliseconds for which a temporary file is never removed, because it is created a moment before it is locked. */
const SWEEP_AGE = 60_000;

/** A file or folder that is not visible yet. */
export interface Temporary {
  readonly path: string;
  readonly handle: FileHandle;
}

export class DurableFiles {
  constructor(
    private readonly root: string,
    private readonly temporaryFolder: string,
  ) {}

  /** Calls `work` with an empty file, which is removed afterwards unless it was published. */
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

  /** Gives a synced temporary file or folder its name, replacing an existing file. */
  async publish(made: Temporary, target: string): Promise<void> {
    await this.inFolder(path.dirname(target), async () => await renameOver(made.path, target));
    await this.syncFolders(path.dirname(target));
  }

  /** @returns false, and changes nothing, if the name is taken. Of two parallel calls, exactly one succeeds. */
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
    // Also if it existed: the process that published it may have died before this step.
    await this.syncFolders(path.dirname(target));
    return published;
  }

  /** Replaces a file atomically and durably. */
  async replace(target: string, data: Buffer): Promise<void> {
    await this.withTemporaryFile(async (file) => {
      await writeAt(file.handle, data, 0);
      await file.handle.sync();
      await this.publish(file, target);
    });
  }

  /** Removes a file, and the folders that become empty, up to `keep`. Does nothing if it is missing. */
  async remove(target: string, keep: string): Promise<void> {
    await this.#putAside(target);
    let folder = path.dirname(target);
    while (folder !== keep && (await removeIfEmpty(folder))) folder = path.dirname(folder);
    await this.syncFolders(folder);
  }

  /** Hides a file or folder immediately and durably, and removes it later. Does nothing if it is missing. */
  async discard(target: string): Promise<void> {
    await this.#putAside(target);
    await syncFolder(path.dirname(target));
  }

  /** Removes through the temporary folder, so that a process that is shut out of it can no longer remove anything. */
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
   * Permanently replaces the temporary folder by a file, and removes its content: once this has resolved, creating or
   * removing a name through the folder fails, however far the writer had come. Durable and repeatable.
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
        // In a loop, because a writer may create the folder again meanwhile.
        await open(folder, 'wx', 0o600).then(
          async (file) => await file.close(),
          (error: unknown) => {
            if (errnoOf(error) !== 'EEXIST') throw error;
          },
        );
      }
    }
  }

  /** Creates a folder, and those that lead to it. */
  async makeFolder(folder: string): Promise<void> {
    if (await this.make(folder)) await this.syncFolders(path.dirname(folder));
  }

  /**
   * Makes the folder's entries durable, then the folder's own name, and so on up to the store. A missing folder was
   * empty and was removed by another process: its removal is an entry of its parent.
   */
  async syncFolders(folder: string): Promise<void> {
    for (let at = folder; ; at = path.dirname(at)) {
      await unlessMissing(syncFolder(at), undefined);
      if (at === this.root || at === path.dirname(at)) return;
    }
  }

  /** Removes files that dead writers have left. A read-only store keeps them. */
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
   * Creates a folder and those that lead to it, but never the store's own: a store that has disappeared is not created
   * again.
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
        // Another process may remove it or its parent while they are empty.
        if (found || (code !== 'EEXIST' && code !== 'ENOENT') || attempt === 100) throw error;
        if (code === 'ENOENT' && parent === this.root) throw error;
        if (code === 'ENOENT') await this.make(parent);
      }
    }
  }

  /** Repeats the work if another process removes the folder, still empty, between its creation and its first file. */
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

/** Removes a temporary file or folder, unless another process has removed it or closed its folder. */
async function removeIfThere(at: string): Promise<void> {
  try {
    await rm(at, { recursive: true, force: true });
  } catch (error) {
    if (errnoOf(error) !== 'ENOTDIR') throw error;
  }
}

/** Also replaces an empty folder of the same name, which someone may have created. */
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

/** Opens a file, calls `work`, closes it. */
export async function withFile<T>(at: string, flags: string, work: (handle: FileHandle) => Promise<T>): Promise<T> {
  const handle = await open(at, flags, 0o600);
  try {
    return await work(handle);
  } finally {
    await handle.close();
  }
}
