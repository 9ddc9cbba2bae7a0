/**
 * The data folder of one instance: the files that `farshore up` keeps, and the lock of the process that holds the
 * folder. Sockets are not in it, because the system limits their paths to a short length. They have a separate folder,
 * which is found by the data folder's path.
 */
import { createHash } from 'node:crypto';
import { chmod, lstat, open, mkdir, readdir, readFile, rm, type FileHandle } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { z } from 'zod';
import { makeFolder } from '../disks/make-folder.js';
import { tryLockFile } from '../disks/native.js';
import { replaceFile } from './durable-file.js';

export const instanceSchema = z.object({
  /** Process id of the supervisor. */
  pid: z.int(),
  siteFile: z.string(),
  vault: z.string(),
  temporal: z.object({
    address: z.string(),
    namespace: z.string(),
    uiUrl: z.string().optional(),
    pid: z.int().optional(),
  }),
  /** Set if Temporal's data is encrypted with this key file; the Web UI decrypts through the endpoint. */
  encryption: z.object({ keyFile: z.string(), codecEndpoint: z.string().optional() }).optional(),
  startedAt: z.string(),
  /** Address at which each worker serves its metrics, by the name of its process. */
  metrics: z.record(z.string(), z.string()).exactOptional(),
});
export type Instance = z.infer<typeof instanceSchema>;

/** The file of an instance cannot be read. The message is complete. */
export class DamagedInstanceError extends Error {
  override readonly name = 'DamagedInstanceError';
}

export class DataFolder {
  readonly path: string;

  constructor(folder: string) {
    this.path = path.resolve(folder);
  }

  readonly temporalDatabase = () => path.join(this.path, 'temporal', 'temporal.db');
  /** The ids by which the stores of vaults are known on this machine. */
  readonly knownStores = () => path.join(this.path, 'stores.json');
  readonly log = (name: string) => path.join(this.path, 'logs', `${name}.log`);
  /** For a worker such as `host-<host>`: contains a folder for each of its processes. */
  readonly runningActivities = (worker: string) => path.join(this.path, 'running', worker);
  readonly hypervisorConfig = (host: string) => path.join(this.path, 'hypervisors', host, 'config.json');
  readonly hypervisorState = (host: string) => path.join(this.path, 'hypervisors', host, 'state');
  readonly recoveryConfig = () => path.join(this.path, 'recovery', 'config.json');
  readonly recoveryState = () => path.join(this.path, 'recovery', 'state');
  readonly hypervisorControl = (host: string) => path.join(this.#sockets('h', host), 'control.sock');
  readonly hypervisorNbd = (host: string) => this.#sockets('h', host);
  readonly recoveryControl = () => path.join(this.#sockets('r', ''), 'control.sock');
  readonly recoveryNbd = () => this.#sockets('r', '');

  /** Hosts that have had a hypervisor with this data folder. */
  async hypervisorHosts(): Promise<string[]> {
    return await readdir(path.join(this.path, 'hypervisors')).catch(() => []);
  }

  /** Creates the folder if necessary. @throws the errno of the file system. */
  async make(): Promise<void> {
    // For the owner only: it contains logs, Temporal's database, and the disks of replica VMs.
    await makeFolder(this.path, 0o700);
    await makeFolder(path.join(this.path, 'logs'));
  }

  /**
   * Creates the sockets' folders, which must exist before any process starts; only this user can access them.
   * @throws Error for a folder of another user, who could put a socket of their own into it.
   */
  async prepare(hosts: readonly string[]): Promise<void> {
    await ownFolder(this.#socketsRoot());
    for (const folder of [...hosts.map((host) => this.hypervisorNbd(host)), this.recoveryNbd()]) {
      await mkdir(folder, { recursive: true, mode: 0o700 });
    }
  }

  /**
   * Locks the folder for this process until it ends.
   * @throws Error that names the process holding it.
   */
  async hold(): Promise<FileHandle> {
    await this.make();
    const file = await open(path.join(this.path, 'lock'), 'a');
    if (tryLockFile(file.fd, 'exclusive')) {
      // For `down`, which must be able to end this process even if the instance file is damaged.
      await file.truncate(0);
      await file.write(`${process.pid}\n`);
      return file;
    }
    await file.close();
    const holder = await this.readableInstance();
    throw new Error(
      `The data folder ${this.path} is held by another instance${holder ? ` (process ${holder.pid}, since ${holder.startedAt})` : ''}. ` +
        'Use that one, stop it with `farshore down`, or give this one another folder with --data.',
    );
  }

  /** True while a process holds the folder. */
  async isHeld(): Promise<boolean> {
    const file = await open(path.join(this.path, 'lock'), 'r').catch(() => undefined);
    if (!file) return false;
    // A shared lock: other processes that ask at this moment do not hold the folder. Closing the file releases it.
    const free = tryLockFile(file.fd, 'shared');
    await file.close();
    return !free;
  }

  /** Id of the process that holds the folder or was the last to hold it; undefined if it cannot be read. */
  async holder(): Promise<number | undefined> {
    const text = await readFile(path.join(this.path, 'lock'), 'utf8').catch(() => '');
    return /^\d+\n$/.test(text) ? Number(text) : undefined;
  }

  /** The instance's description of itself; undefined if there is none. @throws DamagedInstanceError */
  async readInstance(): Promise<Instance | undefined> {
    const file = this.#instanceFile();
    let text: string;
    try {
      text = await readFile(file, 'utf8');
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
      throw damaged(file, (error as Error).message, error);
    }
    try {
      return instanceSchema.parse(JSON.parse(text));
    } catch (error) {
      throw damaged(file, text === '' ? 'it is empty' : 'its content was not written by an instance', error);
    }
  }

  /** As `readInstance`, but returns undefined for a damaged file, for callers that can do without. */
  async readableInstance(): Promise<Instance | undefined> {
    return await this.readInstance().catch(() => undefined);
  }

  async writeInstance(instance: Instance): Promise<void> {
    await replaceFile(this.#instanceFile(), JSON.stringify(instance, null, 2));
  }

  async removeInstance(): Promise<void> {
    await rm(this.#instanceFile(), { force: true });
    await rm(this.#socketsRoot(), { recursive: true, force: true });
  }

  #instanceFile(): string {
    return path.join(this.path, 'instance.json');
  }

  #socketsRoot(): string {
    const key = createHash('sha256').update(this.path).digest('hex').slice(0, 12);
    return path.join(process.env['XDG_RUNTIME_DIR'] ?? tmpdir(), `farshore-${key}`);
  }

  /** Host names may be long, so the name is shortened to a digest. */
  #sockets(kind: string, name: string): string {
    return path.join(this.#socketsRoot(), kind + createHash('sha256').update(name).digest('hex').slice(0, 8));
  }
}

const damaged = (file: string, problem: string, cause: unknown) =>
  new DamagedInstanceError(
    `${file}, which records the address of the instance of this data folder, can't be read: ${problem}\n` +
      '  Remedy: `farshore down`, then `farshore up` again with the same data folder; protection resumes from there',
    { cause },
  );

/** In a folder where everybody may create folders, another user may have created this one. */
async function ownFolder(folder: string): Promise<void> {
  await mkdir(path.dirname(folder), { recursive: true });
  await mkdir(folder, { mode: 0o700 }).catch((error: unknown) => {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
  });
  const found = await lstat(folder);
  if (!found.isDirectory() || found.uid !== process.getuid?.()) {
    throw new Error(
      `${folder}, the folder for the sockets of this instance, does not belong to this user: have it removed, or set ` +
        'XDG_RUNTIME_DIR to a folder that only this user may write to',
    );
  }
  await chmod(folder, 0o700);
}
