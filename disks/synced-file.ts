/**
 * An open file whose content must survive the loss of the machine. If the system cannot store data, it reports that
 * only once and then treats the data as stored: a second sync would succeed. So after a failed sync, this file fails
 * until it is opened again; the caller that opens it writes the required data again before it syncs.
 *
 * Syncs run one at a time: of two parallel ones, only one would get the error.
 */
import type { FileHandle } from 'node:fs/promises';
import { GroupSync } from './group-sync.js';

export class SyncedFile {
  #failure: Error | undefined;
  readonly #sync = new GroupSync(() => this.#syncOnce());

  constructor(readonly handle: FileHandle) {}

  /** Whether a sync has failed; only opening the file again helps. */
  get failed(): boolean {
    return this.#failure !== undefined;
  }

  /** Resolves when everything written before is on stable storage. Rejects with the error of the first failed sync. */
  async sync(): Promise<void> {
    await this.#sync.run();
  }

  async close(): Promise<void> {
    await this.handle.close();
  }

  async #syncOnce(): Promise<void> {
    if (this.#failure) throw this.#failure;
    try {
      await this.handle.datasync();
    } catch (error) {
      this.#failure = error as Error;
      throw error;
    }
  }
}
