/** Other processes that use a store, for tests of what holds between processes and after one is killed. */
import { execFile, fork, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { onTestFinished } from 'vitest';
import { CatalogueError, failureCodeSchema } from '../../domain/errors.js';
import type { StoreAddress } from '../../domain/store-address.js';
import type { Fence } from '../../domain/fence.js';
import type { DiskAddress, DiskWrite, ReplicaDisks } from '../../ports/replica-disks.js';
import type { Objects } from '../../ports/objects.js';
import type { PageBlobs } from '../../sites/page-blobs.js';

const repository = fileURLToPath(new URL('../../', import.meta.url));
const child = fileURLToPath(new URL('replica-store-child.mjs', import.meta.url));

/**
 * Compiles the store for processes that run without a transpiler. Inside `node_modules`, from where the packages it
 * imports are found. @returns the folder, and what removes it.
 */
export async function buildStore(): Promise<{ folder: string; remove: () => Promise<void> }> {
  const cache = path.join(repository, 'node_modules', '.cache');
  await mkdir(cache, { recursive: true });
  const folder = await mkdtemp(path.join(cache, 'farshore-store-'));
  const config = path.join(folder, 'tsconfig.json');
  const compilerOptions = {
    outDir: folder,
    rootDir: repository,
    incremental: false,
    declaration: false,
    sourceMap: false,
  };
  const files = [path.join(repository, 'local/open-replica-store.ts')];
  await writeFile(path.join(folder, 'package.json'), JSON.stringify({ type: 'module' }));
  await writeFile(
    config,
    JSON.stringify({ extends: path.join(repository, 'tsconfig.json'), compilerOptions, files, include: [] }),
  );
  const tsc = path.join(repository, 'node_modules', 'typescript', 'bin', 'tsc');
  // tsc has an option of the same name, which would have to be off; leaving the build info out is enough.
  await promisify(execFile)(process.execPath, [tsc, '-p', config, '--tsBuildInfoFile', 'null']);
  return { folder, remove: async () => await rm(folder, { recursive: true, force: true }) };
}

interface Reply {
  readonly id?: number;
  readonly result?: unknown;
  readonly error?: { readonly code?: string; readonly message: string; readonly stack?: string };
  readonly reached?: boolean;
}

type Remote = {
  [K in 'put' | 'putIfAbsent' | 'delete' | 'raiseFence' as `objects.${K}`]: Objects[K];
} & {
  [K in 'create' | 'write' | 'delete' | 'snapshot' | 'deleteSnapshot' as `pageBlobs.${K}`]: PageBlobs[K];
} & {
  [K in 'snapshot' | 'deleteSnapshot' as `disks.${K}`]: ReplicaDisks[K];
} & {
  writeDisk(...parameters: [DiskAddress, readonly DiskWrite[], Fence]): Promise<void>;
  readPages(...parameters: [string, number, number, string?]): Promise<Buffer>;
  uploadUntilReleased(...parameters: [string, object]): Promise<void>;
  stopBefore(calls: readonly string[], nth: number): Promise<void>;
  writeWhenReleased(...parameters: [string, Buffer, object]): Promise<void>;
};

type Result<M extends keyof Remote> = Awaited<ReturnType<Remote[M]>>;

/** A process with a store open. Killed when the test ends. */
export class StoreProcess {
  #next = 0;
  readonly #waiting = new Map<number, { resolve: (value: never) => void; reject: (error: unknown) => void }>();
  #reached = (): void => {};

  private constructor(private readonly process: ChildProcess) {
    process.on('message', (reply: Reply) => this.#receive(reply));
    process.on('exit', () => {
      for (const { reject } of this.#waiting.values()) reject(new Error('the process has died'));
      this.#waiting.clear();
    });
  }

  /** @param environment of the process, all of it. */
  static async start(
    built: string,
    store: StoreAddress,
    environment: Readonly<Record<string, string>> = {},
  ): Promise<StoreProcess> {
    const started = fork(child, [built, JSON.stringify(store)], {
      serialization: 'advanced',
      execArgv: [],
      env: { ...environment },
    });
    onTestFinished(() => void started.kill('SIGKILL'));
    await Promise.race([
      once(started, 'message'),
      once(started, 'exit').then(() => Promise.reject(new Error('the process did not start'))),
    ]);
    return new StoreProcess(started);
  }

  async call<M extends keyof Remote>(method: M, ...parameters: Parameters<Remote[M]>): Promise<Result<M>> {
    const id = (this.#next += 1);
    return await new Promise<Result<M>>((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject });
      this.process.send({ id, method, parameters }, (error) => error && reject(error));
    });
  }

  /** Resolves when a command says that it has come to where it waits. */
  async reached(): Promise<void> {
    await new Promise<void>((resolve) => (this.#reached = resolve));
  }

  release(): void {
    this.process.send({ method: 'release' });
  }

  /** Resolves to true once the process has stopped, to false when `call` ends before. */
  async stops(call: Promise<unknown>): Promise<boolean> {
    let ended = false;
    const end = () => (ended = true);
    call.then(end, end);
    while (!(await this.#isStopped())) {
      if (ended) return false;
      await sleep(2);
    }
    return true;
  }

  continue(): void {
    this.process.kill('SIGCONT');
  }

  async #isStopped(): Promise<boolean> {
    const stat = await readFile(`/proc/${this.process.pid}/stat`, 'utf8');
    return stat.slice(stat.lastIndexOf(')') + 2).startsWith('T');
  }

  async kill(): Promise<void> {
    if (this.process.exitCode !== null || this.process.signalCode !== null) return;
    const exited = once(this.process, 'exit');
    this.process.kill('SIGKILL');
    await exited;
  }

  #receive({ id, result, error, reached }: Reply): void {
    if (reached) this.#reached();
    const waiting = id === undefined ? undefined : this.#waiting.get(id);
    if (!waiting) return;
    this.#waiting.delete(id!);
    if (!error) return waiting.resolve(result as never);
    const code = failureCodeSchema.safeParse(error.code);
    waiting.reject(
      code.success ? new CatalogueError(code.data, error.message) : new Error(error.stack ?? error.message),
    );
  }
}
