/** What a hypervisor remembers of a VM: a JSON file, replaced whole, on stable storage when a change resolves. */
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
  /** What the VM is meant to be, whether or not its disks can be opened. */
  power: z.enum(['Running', 'Off']).default('Running'),
  /** Of a VM that is off: nothing was written after. */
  exportsClosedAt: isoTimeSchema.exactOptional(),
  /** The epoch it was last started under. */
  startedEpoch: epoch.default(0),
  /** It runs elsewhere under this one; older ones must not start it here. */
  fencedEpoch: epoch.default(0),
  /** The newest epoch that replication was begun in. */
  replicatedEpoch: epoch.default(0),
  /**
   * The VM snapshot. creating: not all disks may have their overlay, so that it is none; taken: the bases are as they
   * were; merging: they change.
   */
  snapshot: z
    .object({ epoch, sequence: z.int().min(1).exactOptional(), phase: z.enum(['creating', 'taken', 'merging']) })
    .exactOptional(),
  /** The epoch of a VM snapshot that was given up, for whoever still wants to read it, and why. */
  givenUp: z.object({ epoch, cause: z.string() }).exactOptional(),
  /** Its guest may be frozen, for a cut that was begun then. */
  frozenSince: isoTimeSchema.exactOptional(),
  /** The newest cut that was to be app-consistent; without `failure` it is. */
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
   * A VM nobody has heard of yet is meant to run. A file that can't be read does not fail this: it is that VM's alone, and is
   * told by whatever is asked of it until the file can be read.
   */
  static async open(vm: string, path: string): Promise<VmStateFile> {
    const file = new VmStateFile(vm, path);
    await file.recover();
    return file;
  }

  /** Why nothing is known of the VM, until `recover` finds the file mended. */
  get failure(): CatalogueError | undefined {
    return this.#failure;
  }

  /** @throws CatalogueError InvalidVmState when the file can't be read. */
  get current(): VmState {
    if (this.#failure) throw this.#failure;
    return this.#state;
  }

  /** Reads the file where it could not be read before. Does not reject. */
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

  /** Of several at once each starts from what the one before left. */
  change(change: (state: VmState) => VmState): Promise<void> {
    return this.#turn.run(async () => {
      await this.recover();
      const state = change(this.current);
      await writeJson(this.path, state);
      this.#state = state;
    });
  }
}

/** @returns undefined when there is no such file. @throws CatalogueError, and Error when it is not what it should be. */
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

/** Replaces the file; a process or machine that dies leaves the old one or the new. */
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

/** Makes the folder this process's own until the handle is closed or the process ends. */
export async function lockStateFolder(folder: string): Promise<FileHandle> {
  await mkdir(folder, { recursive: true, mode: 0o700 });
  const file = await open(join(folder, 'hypervisor.lock'), 'a', 0o600);
  if (tryLockFile(file.fd, 'exclusive')) return file;
  await file.close();
  throw new CatalogueError('InvalidVmState', `another hypervisor is using ${folder}`);
}
