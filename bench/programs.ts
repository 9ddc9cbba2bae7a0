/** Starts programs: peers, clients, and our own processes. */
import { execFile, spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { stat } from 'node:fs/promises';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { processEnvironment, WORKER_FLAGS } from '../instance/process-settings.js';

const execFileAsync = promisify(execFile);
const children = new Set<ChildProcess>();

process.on('exit', () => {
  for (const child of children) child.kill('SIGKILL');
});

/** The first of these programs that is not installed; undefined if all are. */
export const missingProgram = (...programs: readonly string[]): string | undefined =>
  programs.find((program) => spawnSync(program, ['--version'], { stdio: 'ignore' }).error !== undefined);

/** A program's own version line, such as `qemu-img version 7.2.22 (Debian ...)`. */
export const versionOf = (program: string): string =>
  spawnSync(program, ['--version'], { encoding: 'utf8' }).stdout.split('\n')[0]!.trim();

/** Runs a program until it ends. @returns what it printed. @throws with its error output if it fails. */
export const run = (program: string, ...args: readonly string[]): Promise<string> => runIn({}, program, args);

async function runIn(environment: NodeJS.ProcessEnv, program: string, args: readonly string[]): Promise<string> {
  const options = { maxBuffer: 2 ** 26, env: { ...process.env, ...environment } };
  return (await execFileAsync(program, args, options)).stdout;
}

/**
 * Runs one of our programs from the built files, with the flags of a worker.
 * @param program path from the root, without `.js`.
 */
export const runOurs = (program: string, ...args: readonly string[]): Promise<string> =>
  runIn(processEnvironment(), process.execPath, [...WORKER_FLAGS, built(program), ...args]);

/** A program that runs until it is stopped. */
export interface Running {
  stop(): Promise<void>;
}

/** Starts one of our programs, and resolves when it has printed its first line. */
export async function startOurs(program: string, ...args: readonly string[]): Promise<Running> {
  const child = spawn(process.execPath, [built(program), ...args], {
    stdio: ['ignore', 'pipe', 'inherit'],
    env: { ...process.env, ...processEnvironment() },
  });
  const running = keep(child);
  const line = once(createInterface(child.stdout), 'line');
  const ended = once(child, 'exit').then(() => Promise.reject(new Error(`${program} has ended`)));
  ended.catch(() => undefined);
  await Promise.race([line, ended]);
  return running;
}

/** Starts a program, and resolves when the socket on which it listens exists. */
export async function startListener(socket: string, program: string, ...args: readonly string[]): Promise<Running> {
  const child = spawn(program, args, { stdio: ['ignore', 'ignore', 'inherit'] });
  const running = keep(child);
  while (!(await stat(socket).catch(() => undefined))) {
    if (child.exitCode !== null) throw new Error(`${program} has ended with ${child.exitCode}`);
    await sleep(10);
  }
  return running;
}

function keep(child: ChildProcess): Running {
  children.add(child);
  return {
    stop: async () => {
      children.delete(child);
      if (child.exitCode !== null || child.signalCode !== null) return;
      const exited = once(child, 'exit');
      child.kill('SIGTERM');
      await exited;
    },
  };
}

/** The built version of this file is in the folder `bench` of the built files. */
const built = (program: string): string => fileURLToPath(new URL(`../${program}.js`, import.meta.url));
