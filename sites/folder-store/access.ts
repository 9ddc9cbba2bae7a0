/** The rights of a write whose fence was found to be current, until it is shut out. */
import type { LockMode } from '../../disks/native.js';
import { CatalogueError } from '../../domain/errors.js';
import type { Fence } from '../../domain/fence.js';
import type { WriteFence } from '../../ports/objects.js';
import { refuseOlder, scopeOf } from '../write-fence.js';
import type { DurableFiles } from './files.js';
import { untilLetGo, withLock } from './scope-lock.js';
import type { StoreLayout } from './names.js';

/** A fence, and the number of times a process that did not release its lock was shut out of the scope. */
export interface ScopeRecord extends Fence {
  readonly generation: number;
}

/** Milliseconds. */
export interface Patience {
  /** How long a write waits for others that hold a lock. */
  readonly write: number;
  /** How long raising a fence waits for writes in progress; after that, they are shut out. */
  readonly raise: number;
}

export class ScopeAccess {
  readonly scope: string;

  constructor(
    private readonly name: string,
    private readonly fence: WriteFence,
    readonly generation: number,
    /** Every name in the scope is created and removed through their temporary folder. */
    readonly files: DurableFiles,
    private readonly layout: StoreLayout,
    private readonly patience: Patience,
    private readonly readRecord: (scope: string) => Promise<ScopeRecord>,
    /** Locks of former generations that are known to be released for good. */
    private readonly letGo: Set<string>,
  ) {
    this.scope = scopeOf(name, fence);
  }

  /** @throws CatalogueError StaleEpoch if a newer fence is recorded, StoreBusy if the write was shut out. */
  async check(): Promise<void> {
    const recorded = await this.readRecord(this.scope);
    refuseOlder(this.name, this.fence, recorded);
    if (recorded.generation === this.generation) return;
    const detail = `${this.name}: this write took too long and was shut out; it must be repeated`;
    throw new CatalogueError('StoreBusy', detail);
  }

  /**
   * Runs work that may fail, or have no effect, because it is shut out meanwhile. @throws as `check`, then as the work.
   */
  async unlessShutOut<T>(work: () => Promise<T>): Promise<T> {
    let result: T;
    try {
      result = await work();
    } catch (error) {
      await this.check();
      throw error;
    }
    await this.check();
    return result;
  }

  /**
   * Runs work on files that a blob's lock guards, which stay open while they are written. A process cannot be shut out
   * of open files, so nothing is written to them until the process that was shut out of the scope has released them or
   * died.
   * @throws LockTimeout
   */
  async withBlobLock<T>(blob: string, mode: LockMode, work: () => Promise<T>): Promise<T> {
    for (let former = 0; former < this.generation; former += 1) {
      const lock = this.layout.blobLock(blob, former);
      if (this.letGo.has(lock)) continue;
      await untilLetGo(lock, this.patience.raise);
      this.letGo.add(lock);
    }
    return await withLock(this.layout.blobLock(blob, this.generation), mode, this.patience.write, async () => {
      // A process that gets the lock late must not assume that the lock still grants the right to write.
      await this.check();
      return await work();
    });
  }
}
