/**
 * The fence of a scope: one small file, replaced at once. Writers hold the scope's lock, shared, while they check it,
 * write and sync; raising it takes the lock exclusively. So when a fence has been raised, no older write is under way.
 */
import { readFile } from 'node:fs/promises';
import { CatalogueError } from '../../domain/errors.js';
import { compareFences, fenceSchema, type Fence } from '../../domain/fence.js';
import { checkScope } from '../blob-names.js';
import type { WriteFence } from '../ports.js';
import { NO_FENCE, refuseOlder, scopeOf } from '../write-fence.js';
import { unlessMissing } from './replica-store-errors.js';
import type { DurableFiles } from './replica-store-files.js';
import { withLock } from './replica-store-lock.js';
import type { StoreLayout } from './replica-store-names.js';

export class ScopeFences {
  constructor(
    private readonly layout: StoreLayout,
    private readonly files: DurableFiles,
    /** Throws when the store's folder is not what it was. */
    private readonly checkMounted: () => Promise<void>,
  ) {}

  async read(scope: string): Promise<Fence> {
    const file = this.layout.fence(scope);
    const text = await unlessMissing(readFile(file, 'utf8'), undefined);
    return text === undefined ? NO_FENCE : parseFence(text, file);
  }

  /** @throws CatalogueError StaleEpoch when a newer fence is recorded. */
  async check(name: string, fence: WriteFence): Promise<void> {
    refuseOlder(name, fence, await this.read(scopeOf(name, fence)));
  }

  /**
   * Runs a write that must be on stable storage when it resolves, and keep no fence waiting for long.
   * @throws CatalogueError StaleEpoch
   */
  async write<T>(name: string, fence: WriteFence, work: () => Promise<T>): Promise<T> {
    const scope = checkScope(fence.scope);
    await this.files.makeFolder(this.layout.file(scope));
    return await withLock(this.layout.scopeLock(scope), 'shared', async () => {
      // Asked under the lock, whose open file keeps the file system from being unmounted from here on.
      await this.checkMounted();
      await this.check(name, fence);
      return await work();
    });
  }

  async raise(fence: WriteFence): Promise<void> {
    const scope = checkScope(fence.scope);
    const wanted = fenceSchema.parse(fence);
    const folder = this.layout.file(scope);
    await this.files.makeFolder(folder);
    await withLock(this.layout.scopeLock(scope), 'exclusive', async () => {
      await this.checkMounted();
      const recorded = await this.read(scope);
      // Synced also when it is there already: whoever raised it may have died before that.
      if (compareFences(wanted, recorded) <= 0) await this.files.syncFolders(folder);
      else await this.files.replace(this.layout.fence(scope), Buffer.from(JSON.stringify(wanted)));
    });
  }
}

function parseFence(text: string, file: string): Fence {
  try {
    return fenceSchema.parse(JSON.parse(text));
  } catch (error) {
    throw new CatalogueError('InvalidReplicaState', `${file} is no fence: ${text.slice(0, 80)}`, { cause: error });
  }
}
