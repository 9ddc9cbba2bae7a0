/**
 * The fence of a scope: a small file that is replaced atomically, and a second copy. The higher intact copy counts; while
 * neither is intact, nothing is written. Raising the fence replaces both copies before it resolves. Writers hold the
 * scope's lock, shared, while they check the fence, write and sync; raising it takes the lock exclusively. So when a fence
 * has been raised, no older write is in progress.
 *
 * A process that is stopped or hangs may hold the lock forever. Raising the fence waits for it for a limited time. After
 * that, it uses the lock of the next generation, whose number is stored in the fence, and shuts the process out:
 *   - Every name in the scope is created and removed by renaming to or from the work folder of a generation. The former
 *     work folder is replaced by a file, so that a late rename fails.
 *   - Files that are written while they are open (pages, undo journals) are guarded by the lock of their blob, which the
 *     process still holds. The new generation does not write them until the process has released it. Snapshots stay
 *     readable meanwhile: a late write does not change them (see `UndoChain`).
 *   - A process that gets a lock of a former generation late finds the new generation in the fence.
 */
import { readFile } from 'node:fs/promises';
import { blake3 } from '@napi-rs/blake-hash';
import { z } from 'zod';
import { LockTimeout } from '../../disks/native.js';
import { CatalogueError } from '../../domain/errors.js';
import { compareFences, fenceSchema, type Fence } from '../../domain/fence.js';
import { checkScope } from '../blob-names.js';
import type { WriteFence } from '../../ports/objects.js';
import { NO_FENCE, refuseOlder, scopeOf } from '../write-fence.js';
import { ScopeAccess, type Patience, type ScopeRecord } from './access.js';
import { unlessMissing } from './folder-errors.js';
import { DurableFiles } from './files.js';
import { withLock } from './scope-lock.js';
import type { StoreLayout } from './names.js';

/** Generations tried in one call: as many processes may be stopped while they shut each other out. */
const MOST_AT_ONCE = 5;

const recordSchema = z.object({
  ...fenceSchema.shape,
  generation: z.int().min(0).default(0),
  /** Missing in files of earlier versions. */
  checksum: z.string().exactOptional(),
});

export class ScopeFences {
  /** Work folders that are known to be closed. */
  readonly #closed = new Set<string>();
  readonly #letGo = new Set<string>();

  constructor(
    private readonly layout: StoreLayout,
    private readonly files: DurableFiles,
    /** Throws if the store's folder has changed, for example because it is no longer mounted. */
    private readonly checkMounted: () => Promise<void>,
    private readonly patience: Patience,
  ) {}

  async read(scope: string): Promise<Fence> {
    const { epoch, sequence } = await this.#record(scope);
    return { epoch, sequence };
  }

  /** Access for preparing a write. @throws CatalogueError StaleEpoch if a newer fence is recorded. */
  async access(name: string, fence: WriteFence): Promise<ScopeAccess> {
    const scope = scopeOf(name, fence);
    const recorded = await this.#record(scope);
    refuseOlder(name, fence, recorded);
    const { generation } = recorded;
    const files = this.#filesOf(scope, generation);
    const readRecord = async (of: string) => await this.#record(of);
    return new ScopeAccess(name, fence, generation, files, this.layout, this.patience, readRecord, this.#letGo);
  }

  /**
   * Runs a write, which must be on stable storage when it resolves, and must not delay a fence for long.
   * @param prepared the access with which the write was prepared; otherwise it gets one.
   * @throws CatalogueError StaleEpoch, StoreBusy if it was shut out; LockTimeout
   */
  async write<T>(
    name: string,
    fence: WriteFence,
    work: (access: ScopeAccess) => Promise<T>,
    prepared?: ScopeAccess,
  ): Promise<T> {
    const scope = checkScope(fence.scope);
    await this.files.makeFolder(this.layout.file(scope));
    const access = prepared ?? (await this.access(name, fence));
    const lock = this.layout.scopeLock(scope, access.generation);
    return await withLock(lock, 'shared', this.patience.write, async () => {
      // Checked under the lock, whose open file keeps the file system mounted from here on.
      await this.checkMounted();
      await access.check();
      await this.#closeBefore(scope, access.generation);
      return await access.unlessShutOut(async () => await work(access));
    });
  }

  async raise(fence: WriteFence): Promise<void> {
    const scope = checkScope(fence.scope);
    const wanted = fenceSchema.parse(fence);
    await this.files.makeFolder(this.layout.file(scope));
    for (let attempt = 1; ; attempt += 1) {
      const { generation } = await this.#record(scope);
      for (let ahead = 0; ; ahead += 1) {
        try {
          if (await this.#raiseIn(scope, wanted, generation, generation + ahead)) return;
          break;
        } catch (error) {
          if (!(error instanceof LockTimeout) || ahead === MOST_AT_ONCE) throw error;
        }
      }
      // Each attempt met a process that had shut out another.
      if (attempt === MOST_AT_ONCE)
        throw new CatalogueError('StoreBusy', `other processes keep raising the fence of ${scope}`);
    }
  }

  /** @returns false, with nothing changed, if the scope is no longer in the generation `from`. */
  async #raiseIn(scope: string, wanted: Fence, from: number, to: number): Promise<boolean> {
    return await withLock(this.layout.scopeLock(scope, to), 'exclusive', this.patience.raise, async () => {
      await this.checkMounted();
      const recorded = await this.#record(scope);
      if (recorded.generation !== from) return false;
      const files = this.#filesOf(scope, to);
      const isNewer = compareFences(wanted, recorded) > 0;
      // Synced even if it exists already: the process that raised it may have died before that.
      const isKept = !isNewer && to === from && (await this.#copies(scope)).every((copy) => isSame(copy, recorded));
      if (isKept) await files.syncFolders(this.layout.file(scope));
      else {
        const { epoch, sequence } = isNewer ? wanted : recorded;
        const record = encodeRecord({ epoch, sequence, generation: to });
        for (const file of this.layout.fences(scope)) await files.replace(file, record);
      }
      await this.#closeBefore(scope, to);
      return true;
    });
  }

  /** Every process repeats this once: the process that began a generation may have died before it. */
  async #closeBefore(scope: string, generation: number): Promise<void> {
    for (let former = 0; former < generation; former += 1) {
      const folder = this.layout.workFolder(scope, former);
      if (this.#closed.has(folder)) continue;
      await this.#filesOf(scope, former).close();
      this.#closed.add(folder);
    }
  }

  #filesOf(scope: string, generation: number): DurableFiles {
    return new DurableFiles(this.layout.root, this.layout.workFolder(scope, generation));
  }

  async #record(scope: string): Promise<ScopeRecord> {
    const copies = await this.#copies(scope);
    const whole = copies.filter(isWhole);
    const newest = whole.toSorted(compareFences).at(-1);
    if (newest) return { ...newest, generation: Math.max(...whole.map(({ generation }) => generation)) };
    const damaged = copies.find(isDamaged);
    if (!damaged) return { ...NO_FENCE, generation: 0 };
    throw new CatalogueError('InvalidReplicaState', damaged.problem.message, { cause: damaged.problem });
  }

  /** Undefined for a missing copy. */
  async #copies(scope: string): Promise<Copy[]> {
    const copies: Copy[] = [];
    for (const file of this.layout.fences(scope)) {
      const text = await unlessMissing(readFile(file, 'utf8'), undefined);
      copies.push(text === undefined ? undefined : parseRecord(text, file));
    }
    return copies;
  }
}

interface DamagedFence {
  readonly problem: Error;
}

type Copy = ScopeRecord | DamagedFence | undefined;

const isDamaged = (copy: Copy): copy is DamagedFence => copy !== undefined && 'problem' in copy;
const isWhole = (copy: Copy): copy is ScopeRecord => copy !== undefined && !('problem' in copy);
const isSame = (copy: Copy, record: ScopeRecord): boolean =>
  isWhole(copy) && copy.generation === record.generation && compareFences(copy, record) === 0;

const encodeRecord = (record: ScopeRecord): Buffer =>
  Buffer.from(JSON.stringify({ ...record, checksum: checksumOf(record) }));

const checksumOf = ({ epoch, sequence, generation }: ScopeRecord): string =>
  blake3(Buffer.from(JSON.stringify([epoch, sequence, generation]))).toString('hex', 0, 16);

function parseRecord(text: string, file: string): ScopeRecord | DamagedFence {
  try {
    const { checksum, ...record } = recordSchema.parse(JSON.parse(text));
    if (checksum === undefined || checksum === checksumOf(record)) return record;
    return { problem: new Error(`${file} is damaged: ${text.slice(0, 80)}`) };
  } catch (error) {
    return { problem: new Error(`${file} does not hold a fence: ${text.slice(0, 80)}`, { cause: error }) };
  }
}
