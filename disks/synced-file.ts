/**
 * An open file whose content has to outlive the machine. What the system could not store it takes for stored from then
 * on, and says so only once: a second sync would find nothing wrong. So once a sync has failed, this file fails until
 * it is opened anew; whoever opens it anew writes again what has to be on stable storage, and only then syncs.
 *
 * Syncs run one at a time: of two that run at once only one would be told of the failure.
 */
import type { FileHandle } from 'node:fs/promises';
import { GroupSync } from './group-sync.js';

export class SyncedFile {
  #failure: Error | undefined;
  readonly #sync = new GroupSync(() => this.#syncOnce());

  constructor(readonly handle: FileHandle) {}

  /** Whether a sync has failed: only opening the file anew helps. */
  get failed(): boolean {
    return this.#failure !== undefined;
  }

  /** Resolves once everything written before is on stable storage. Rejects with what the first failed sync met. */
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
