/**
 * The data folder of one instance: where everything lies that `farshore up` keeps, and who holds it.
 * Sockets are not in it: the system's limit for their paths is short, so they get a folder of their own that is found
 * again by the data folder's path.
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
  /** What Temporal holds is encrypted with this key file; the endpoint is what the Web UI decrypts by. */
  encryption: z.object({ keyFile: z.string(), codecEndpoint: z.string().optional() }).optional(),
  startedAt: z.string(),
  /** Where each worker's metrics are served, by the name of its process. */
  metrics: z.record(z.string(), z.string()).exactOptional(),
});
export type Instance = z.infer<typeof instanceSchema>;

/** What an instance has left of itself can't be read. The message is complete. */
export class DamagedInstanceError extends Error {
  override readonly name = 'DamagedInstanceError';
}

export class DataFolder {
  readonly path: string;

  constructor(folder: string) {
    this.path = path.resolve(folder);
  }

  readonly temporalDatabase = () => path.join(this.path, 'temporal', 'temporal.db');
  /** By which ids the stores of vaults are known here. */
  readonly knownStores = () => path.join(this.path, 'stores.json');
  readonly log = (name: string) => path.join(this.path, 'logs', `${name}.log`);
  /** Of a worker, `host-<host>` for example: a folder for each of its processes. */
  readonly runningActivities = (worker: string) => path.join(this.path, 'running', worker);
  readonly hypervisorConfig = (host: string) => path.join(this.path, 'hypervisors', host, 'config.json');
  readonly hypervisorState = (host: string) => path.join(this.path, 'hypervisors', host, 'state');
  readonly recoveryConfig = () => path.join(this.path, 'recovery', 'config.json');
  readonly recoveryState = () => path.join(this.path, 'recovery', 'state');
  readonly hypervisorControl = (host: string) => path.join(this.#sockets('h', host), 'control.sock');
  readonly hypervisorNbd = (host: string) => this.#sockets('h', host);
  readonly recoveryControl = () => path.join(this.#sockets('r', ''), 'control.sock');
  readonly recoveryNbd = () => this.#sockets('r', '');

  /** Hosts that have had a hypervisor here. */
  async hypervisorHosts(): Promise<string[]> {
    return await readdir(path.join(this.path, 'hypervisors')).catch(() => []);
  }

  /** Makes the folder, if need be. @throws the errno of the file system. */
  async make(): Promise<void> {
    // Nobody else's: logs, Temporal's database, and the disks of replica VMs lie in it.
    await makeFolder(this.path, 0o700);
    await makeFolder(path.join(this.path, 'logs'));
  }

  /**
   * The sockets' folders, which have to be there before anything is started; they are for this user only.
   * @throws Error for one that is somebody else's: whoever owns it could put a socket of theirs in it.
   */
  async prepare(hosts: readonly string[]): Promise<void> {
    await ownFolder(this.#socketsRoot());
    for (const folder of [...hosts.map((host) => this.hypervisorNbd(host)), this.recoveryNbd()]) {
      await mkdir(folder, { recursive: true, mode: 0o700 });
    }
  }

  /**
   * Takes the folder for this process until it ends.
   * @throws Error that names the process which holds it.
   */
  async hold(): Promise<FileHandle> {
    await this.make();
    const file = await open(path.join(this.path, 'lock'), 'a');
    if (tryLockFile(file.fd, 'exclusive')) {
      // For whoever wants to end this process although the instance's own file is damaged.
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
    // Shared: others who ask at this moment are no holders. Closing the file gives the lock back.
    const free = tryLockFile(file.fd, 'shared');
    await file.close();
    return !free;
  }

  /** Process id of who holds the folder, or has held it last; undefined where that can't be read. */
  async holder(): Promise<number | undefined> {
    const text = await readFile(path.join(this.path, 'lock'), 'utf8').catch(() => '');
    return /^\d+\n$/.test(text) ? Number(text) : undefined;
  }

  /** What the instance says of itself; undefined where there is none. @throws DamagedInstanceError */
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

  /** As `readInstance`, for those who can go on without: undefined for a file that is damaged, too. */
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

  /** Host names may be long, so they are shortened to what tells them apart. */
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

/** Where anybody may make folders, one of that name may have been made by anybody. */
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
