/** Supervises the processes of one instance: starts them, waits until each is ready, and restarts those that die. */
import { spawn, type ChildProcess } from 'node:child_process';
import { constants } from 'node:fs';
import { open, type FileHandle } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { RestartDelay } from './restart-delay.js';

export interface ProcessSpec {
  readonly name: string;
  readonly command: string;
  readonly args: readonly string[];
  readonly env?: NodeJS.ProcessEnv;
  readonly logFile: string;
  /** Prepares a restart as the first start was prepared. The process is restarted even if this fails. */
  beforeRestart?(): Promise<void>;
  /** Resolves when the process does its work; called after each start. */
  ready(): Promise<void>;
}

const STOP_GRACE_MS = 20_000;
/** A named pipe without a reader must not block the start of a process. */
const LOG_FLAGS = constants.O_WRONLY | constants.O_APPEND | constants.O_CREAT | constants.O_NONBLOCK;

/** A process that was started, or failed to start and has therefore already ended. */
class Child {
  /** Why it ended, for people. */
  readonly ended: Promise<string>;
  #running = true;

  constructor(private readonly process: ChildProcess) {
    this.ended = new Promise((resolve) => {
      const end = (reason: string) => {
        this.#running = false;
        resolve(reason);
      };
      process.once('exit', (code, signal) => end(signal ?? `code ${code}`));
      // A process that failed to start emits no exit. Later errors are about signals that could not be delivered.
      process.on('error', (error) => {
        if (process.pid === undefined) end(error.message);
      });
    });
  }

  get pid(): number | undefined {
    return this.process.pid;
  }

  get isRunning(): boolean {
    return this.#running;
  }

  async stop(): Promise<void> {
    if (!this.#running) return;
    this.process.kill('SIGTERM');
    const late = setTimeout(() => this.process.kill('SIGKILL'), STOP_GRACE_MS);
    await this.ended;
    clearTimeout(late);
  }
}

export class Supervisor {
  readonly #running = new Map<string, Child>();
  #stopping = false;

  /** @param onEvent called with each death and restart, for the instance's log. */
  constructor(private readonly onEvent: (line: string) => void) {}

  /** Id of a process while it runs. */
  pid(name: string): number | undefined {
    return this.#running.get(name)?.pid;
  }

  /**
   * Resolves when it is ready. @throws Error that names its log if it ends before that, or if the log cannot be opened.
   */
  async start(wanted: ProcessSpec): Promise<void> {
    // A restart uses the environment of the first start: the environment of this process may change.
    const spec = { ...wanted, env: { ...process.env, ...wanted.env } };
    const child = this.#spawn(spec, await openLog(spec));
    const end = child.ended.then((reason) => {
      throw new Error(`${spec.name} ended during startup (${reason}); see ${spec.logFile}`);
    });
    await Promise.race([spec.ready(), end]);
    end.catch(() => undefined);
    if (!child.isRunning) throw new Error(`${spec.name} ended during startup; see ${spec.logFile}`);
    void this.#keep(spec, child);
  }

  /** Ends all processes, the last started first, and gives each time to finish its work. */
  async stop(): Promise<void> {
    this.#stopping = true;
    for (const [, child] of [...this.#running].toReversed()) await child.stop();
  }

  #spawn(spec: ProcessSpec, log: FileHandle | undefined): Child {
    const output = log?.fd ?? 'ignore';
    // The pipe on standard input closes when this process ends for whatever reason, which tells the child.
    const child = new Child(
      spawn(spec.command, spec.args, {
        stdio: ['pipe', output, output],
        env: spec.env,
        detached: true,
      }),
    );
    void log?.close().catch(() => undefined);
    this.#running.set(spec.name, child);
    return child;
  }

  /** Never gives up and never throws: an error here would end this process, and with it all others. */
  async #keep(spec: ProcessSpec, first: Child): Promise<void> {
    let child: Child | undefined = first;
    const restart = new RestartDelay();
    for (;;) {
      const startedAt = performance.now();
      let problem = 'ended';
      if (child) problem = `ended (${await child.ended})`;
      if (this.#stopping) return;
      const delay = restart.after(performance.now() - startedAt);
      this.onEvent(`${spec.name} ${problem}; restarting it in ${delay} ms`);
      await sleep(delay);
      if (this.#stopping) return;
      child = await this.#startAgain(spec);
    }
  }

  async #startAgain(spec: ProcessSpec): Promise<Child | undefined> {
    try {
      await spec.beforeRestart?.().catch((error: unknown) => {
        this.onEvent(`${spec.name} starts without its preparation: ${(error as Error).message}`);
      });
      const log = await openLog(spec).catch((error: unknown) => {
        this.onEvent(`${spec.name} runs without a log: ${(error as Error).message}`);
        return undefined;
      });
      if (!this.#stopping) return this.#spawn(spec, log);
      await log?.close();
    } catch (error) {
      this.onEvent(`${spec.name} could not be started: ${(error as Error).message}`);
    }
    return undefined;
  }
}

const openLog = ({ logFile }: ProcessSpec): Promise<FileHandle> => open(logFile, LOG_FLAGS, 0o600);
