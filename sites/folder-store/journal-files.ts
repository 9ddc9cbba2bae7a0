/**
 * The files of undo journals, which stay open for a moment after use, because reading an old snapshot reads every newer
 * journal again and again. Ids are never reused, so an open file is always the right one; its content is read again
 * each time. Idle files are closed soon, so that the store can be unmounted.
 */
import { constants, fstatSync } from 'node:fs';
import { open } from 'node:fs/promises';
import path from 'node:path';
import { SyncedFile } from '../../disks/synced-file.js';
import { CatalogueError } from '../../domain/errors.js';

/** Milliseconds. */
const IDLE = 2_000;
/** Limit of open journals that are not in use. */
const MOST_IDLE = 256;

export interface JournalFiles {
  readonly before: SyncedFile;
  readonly bits: SyncedFile;
  /** By page of `bits`: digest of the content that this process has written and synced since it opened the file. */
  readonly storedBits: Map<number, string>;
}

interface Entry {
  readonly files: Promise<JournalFiles>;
  users: number;
  idleSince: number;
}

export class OpenJournals {
  readonly #entries = new Map<string, Entry>();
  #sweeper: NodeJS.Timeout | undefined;
  #closed = false;

  /**
   * Opens `files` until `release` is called.
   * @param key identifies the journal permanently, wherever its folder is.
   * @param lengths required lengths of the two files, bytes. @throws CatalogueError InvalidReplicaState if they differ.
   */
  async use(
    key: string,
    folder: string,
    access: 'read' | 'write',
    lengths: { readonly before: number; readonly bits: number },
  ): Promise<{ files: JournalFiles; release: () => Promise<void> }> {
    const name = `${access} ${key}`;
    let entry = this.#entries.get(name);
    if (!entry) this.#entries.set(name, (entry = { files: openFiles(folder, access), users: 0, idleSince: 0 }));
    const used = entry;
    used.users += 1;
    try {
      const files = await used.files;
      for (const which of ['before', 'bits'] as const) {
        const { size } = fstatSync(files[which].handle.fd);
        if (size === lengths[which]) continue;
        const detail = `${path.join(folder, which)} has ${size} bytes; ${lengths[which]} belong to a blob of its size`;
        throw new CatalogueError('InvalidReplicaState', detail);
      }
      return { files, release: async () => await this.#release(name, used, files) };
    } catch (error) {
      this.#forget(name, used);
      await this.#release(name, used);
      throw error;
    }
  }

  /** Closes the files of a deleted journal after their use, because open files keep their space. */
  async drop(key: string): Promise<void> {
    for (const access of ['read', 'write'] as const) {
      const name = `${access} ${key}`;
      const entry = this.#entries.get(name);
      if (!entry) continue;
      this.#forget(name, entry);
      if (entry.users === 0) await closeFiles(entry);
    }
  }

  /** Closes idle files now, and files in use after their use. */
  async close(): Promise<void> {
    this.#closed = true;
    await this.#closeIdle(0);
  }

  async #release(name: string, entry: Entry, files?: JournalFiles): Promise<void> {
    entry.users -= 1;
    entry.idleSince = performance.now();
    // A failed file stays failed, so the next user opens it again.
    if (files && (files.before.failed || files.bits.failed)) this.#forget(name, entry);
    if (entry.users > 0) return;
    if (this.#closed || this.#entries.size > MOST_IDLE) this.#forget(name, entry);
    if (this.#entries.get(name) !== entry) return await closeFiles(entry);
    this.#sweeper ??= setInterval(() => void this.#closeIdle(IDLE), IDLE).unref();
  }

  #forget(name: string, entry: Entry): void {
    if (this.#entries.get(name) === entry) this.#entries.delete(name);
  }

  async #closeIdle(age: number): Promise<void> {
    const idle = [...this.#entries].filter(
      ([, { users, idleSince }]) => users === 0 && performance.now() - idleSince >= age,
    );
    for (const [name] of idle) this.#entries.delete(name);
    if (this.#entries.size === 0) {
      clearInterval(this.#sweeper);
      this.#sweeper = undefined;
    }
    for (const [, entry] of idle) await closeFiles(entry);
  }
}

async function openFiles(folder: string, access: 'read' | 'write'): Promise<JournalFiles> {
  const flags = access === 'read' ? constants.O_RDONLY : constants.O_RDWR;
  const before = await open(path.join(folder, 'before'), flags);
  try {
    const bits = await open(path.join(folder, 'bits'), flags);
    return { before: new SyncedFile(before), bits: new SyncedFile(bits), storedBits: new Map() };
  } catch (error) {
    await before.close();
    throw error;
  }
}

/** Everything was synced before, so a failure of closing, or a file that is not open, does not matter. */
async function closeFiles(entry: Entry): Promise<void> {
  await entry.files
    .then(async ({ before, bits }) => await Promise.all([before.close(), bits.close()]))
    .catch(() => undefined);
}
