/**
 * A hypervisor's stored state of a VM: a JSON file. Each change replaces the whole file, and is on stable storage when
 * it resolves.
 */
import { mkdir, open, rename, type FileHandle } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { z } from 'zod';
import { diskError } from '../../disks/disk-errors.js';
import { tryLockFile } from '../../disks/native.js';
import { openRegular } from '../../disks/open-regular.js';
import { syncFolder } from '../../disks/sync-folder.js';
import { appConsistentFailureSchema } from '../../domain/app-consistency.js';
import { CatalogueError } from '../../domain/errors.js';
import { fenceSchema } from '../../domain/fence.js';
import { isoTimeSchema } from '../../domain/time.js';
import { Mutex } from '../../concurrency/mutex.js';

const epoch = z.int().min(0);

export const vmStateSchema = z.object({
  /** The desired power state, even if the disks can't be opened. */
  power: z.enum(['Running', 'Off']).default('Running'),
  /** When the exports of a VM that is off were closed; nothing was written after that. */
  exportsClosedAt: isoTimeSchema.exactOptional(),
  /** The epoch under which the VM was last started. */
  startedEpoch: epoch.default(0),
  /** The epoch under which the VM runs elsewhere; an older epoch must not start it here. */
  fencedEpoch: epoch.default(0),
  /** The newest epoch in which replication was started. */
  replicatedEpoch: epoch.default(0),
  /**
   * The VM snapshot. creating: some disks may not have their overlay yet, so it can't be used; taken: the bases hold
   * the state of the snapshot; merging: the bases are changing.
   */
  snapshot: z
    .object({ epoch, sequence: z.int().min(1).exactOptional(), phase: z.enum(['creating', 'taken', 'merging']) })
    .exactOptional(),
  /** The epoch of a VM snapshot that was given up, and why: for a reader that still asks for that snapshot. */
  givenUp: z.object({ epoch, cause: z.string() }).exactOptional(),
  /** Layers above the disks, in which the VM is brought back; see `FailbackState`. */
  failback: z
    .object({
      epoch,
      received: z.int().min(0).exactOptional(),
      original: z
        .object({ epoch, lastWrites: z.array(z.object({ name: z.string(), lastWrite: z.int().min(0) })) })
        .exactOptional(),
      /** Identity of each original disk file; null for a disk that has none. */
      files: z.array(z.string().nullable()),
      /**
       * receiving: the layers can be discarded; committed: they are being merged; discarding: their files are being
       * deleted.
       */
      phase: z.enum(['receiving', 'committed', 'discarding']),
    })
    .exactOptional(),
  /** The guest may be frozen, for a cut begun at this time. */
  frozenSince: isoTimeSchema.exactOptional(),
  /** The newest cut for which an app-consistent state was requested; without `failure` it is app-consistent. */
  guestCut: z.object({ ...fenceSchema.shape, failure: appConsistentFailureSchema.exactOptional() }).exactOptional(),
});
export type GuestCut = NonNullable<z.infer<typeof vmStateSchema>['guestCut']>;
export type VmState = z.infer<typeof vmStateSchema>;

const UNREAD = vmStateSchema.parse({});

export class VmStateFile {
  #state: VmState = UNREAD;
  #failure: CatalogueError | undefined;
  readonly #turn = new Mutex();

  private constructor(
    private readonly vm: string,
    private readonly path: string,
  ) {}

  /**
   * A VM without a state file is meant to run. An unreadable file does not make this fail, because it concerns only
   * that VM: every operation on the VM fails until the file can be read.
   */
  static async open(vm: string, path: string): Promise<VmStateFile> {
    const file = new VmStateFile(vm, path);
    await file.recover();
    return file;
  }

  /** Why the VM's state is unknown; cleared when `recover` can read the file. */
  get failure(): CatalogueError | undefined {
    return this.#failure;
  }

  /** @throws CatalogueError InvalidVmState if the file can't be read. */
  get current(): VmState {
    if (this.#failure) throw this.#failure;
    return this.#state;
  }

  /** Tries again to read a file that could not be read. Does not reject. */
  async recover(): Promise<void> {
    if (this.#state !== UNREAD) return;
    try {
      this.#state = (await readJson(this.path, vmStateSchema)) ?? vmStateSchema.parse({});
      this.#failure = undefined;
    } catch (error) {
      const remedy = `Restore it from a copy; or, if ${this.vm} runs nowhere else, delete it: Farshore then treats the VM as never shut down or failed over`;
      const detail = `the hypervisor's state file of ${this.vm} can't be read: ${(error as Error).message}. ${remedy}`;
      this.#failure = new CatalogueError('InvalidVmState', detail, { cause: error });
    }
  }

  /** Concurrent changes run one at a time, each on the result of the one before. */
  change(change: (state: VmState) => VmState): Promise<void> {
    return this.#turn.run(async () => {
      await this.recover();
      const state = change(this.current);
      await writeJson(this.path, state);
      this.#state = state;
    });
  }
}

/**
 * @returns undefined if there is no such file.
 * @throws CatalogueError if it can't be read, Error if its contents are not valid.
 */
export async function readJson<S extends z.ZodType>(path: string, schema: S): Promise<z.infer<S> | undefined> {
  let text: string;
  try {
    const file = await openRegular(path, 'read');
    try {
      text = await file.readFile('utf8');
    } finally {
      await file.close();
    }
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw diskError(error, path, 'read');
  }
  try {
    return schema.parse(JSON.parse(text));
  } catch (error) {
    throw new Error(`${path} cannot be read: ${(error as Error).message}`, { cause: error });
  }
}

/** Replaces the file. If the process or machine dies, either the old or the new contents remain. */
export async function writeJson(path: string, value: unknown): Promise<void> {
  const unfinished = `${path}.new`;
  try {
    const file = await open(unfinished, 'w', 0o600);
    try {
      await file.writeFile(`${JSON.stringify(value, undefined, 2)}\n`);
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(unfinished, path);
    await syncFolder(dirname(path));
  } catch (error) {
    throw diskError(error, path, 'write');
  }
}

/** Reserves the folder for this process until the handle is closed or the process ends. */
export async function lockStateFolder(folder: string): Promise<FileHandle> {
  await mkdir(folder, { recursive: true, mode: 0o700 });
  const file = await open(join(folder, 'hypervisor.lock'), 'a', 0o600);
  if (tryLockFile(file.fd, 'exclusive')) return file;
  await file.close();
  throw new CatalogueError('InvalidVmState', `another hypervisor is using ${folder}`);
}
