/** Keeps the processes of one instance running: starts them, waits until each says it is ready, starts those that die again. */
import { spawn, type ChildProcess } from 'node:child_process';
import { open } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { RestartDelay } from './restart-delay.js';

export interface ProcessSpec {
  readonly name: string;
  readonly command: string;
  readonly args: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  readonly logFile: string;
  /** Resolves once the process does its work; called after each start. */
  ready(): Promise<void>;
}

const STOP_GRACE_MS = 20_000;

export class Supervisor {
  readonly #running = new Map<string, ChildProcess>();
  #stopping = false;

  /** @param onEvent is told of deaths and restarts, for the instance's log. */
  constructor(private readonly onEvent: (line: string) => void) {}

  /** Process id of a process, as long as it runs. */
  pid(name: string): number | undefined {
    return this.#running.get(name)?.pid;
  }

  /** Resolves when it is ready. @throws Error with the place of its log when it ends before that. */
  async start(spec: ProcessSpec): Promise<void> {
    const child = await this.#spawn(spec);
    let ended = false;
    const end = new Promise<never>((_, reject) => {
      child.once('exit', (code, signal) => {
        ended = true;
        reject(new Error(`${spec.name} ended at its start (${signal ?? `code ${code}`}); see ${spec.logFile}`));
      });
    });
    await Promise.race([spec.ready(), end]);
    end.catch(() => undefined);
    if (ended) throw new Error(`${spec.name} ended at its start; see ${spec.logFile}`);
    void this.#keep(spec, child);
  }

  /** Ends all, the ones started last first, each with time to finish what it does. */
  async stop(): Promise<void> {
    this.#stopping = true;
    for (const [, child] of [...this.#running].toReversed()) {
      if (child.exitCode !== null || child.signalCode !== null) continue;
      const ended = new Promise<void>((resolve) => child.once('exit', () => resolve()));
      child.kill('SIGTERM');
      const late = AbortSignal.timeout(STOP_GRACE_MS);
      late.addEventListener('abort', () => child.kill('SIGKILL'), { once: true });
      await ended;
    }
  }

  async #spawn(spec: ProcessSpec): Promise<ChildProcess> {
    const log = await open(spec.logFile, 'a');
    // The pipe on standard input ends with this process, however it ends: that is how the child learns of it.
    const child = spawn(spec.command, spec.args, {
      stdio: ['pipe', log.fd, log.fd],
      env: { ...process.env, ...spec.env },
      detached: true,
    });
    await log.close();
    child.on('error', (error) => this.onEvent(`${spec.name}: ${error.message}`));
    this.#running.set(spec.name, child);
    return child;
  }

  async #keep(spec: ProcessSpec, first: ChildProcess): Promise<void> {
    let child = first;
    const restart = new RestartDelay();
    for (;;) {
      const startedAt = performance.now();
      if (child.exitCode === null && child.signalCode === null) {
        await new Promise<void>((resolve) => child.once('exit', () => resolve()));
      }
      if (this.#stopping) return;
      const delay = restart.after(performance.now() - startedAt);
      this.onEvent(
        `${spec.name} ended (${child.signalCode ?? `code ${child.exitCode}`}); starting it again in ${delay} ms`,
      );
      await sleep(delay);
      if (this.#stopping) return;
      child = await this.#spawn(spec);
    }
  }
}
