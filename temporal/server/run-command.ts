import { spawn } from 'node:child_process';
import { access, constants, stat } from 'node:fs/promises';
import { delimiter, join } from 'node:path';

/** Options of {@link runCommand}. */
interface CommandOptions {
  readonly env: NodeJS.ProcessEnv;
  readonly cwd?: string;
  /** Milliseconds after which the program is ended and the call fails. */
  readonly timeoutMs: number;
  /** Ends the program; the call then fails with the signal's reason. */
  readonly signal?: AbortSignal;
  /** Called about every ten seconds with the seconds elapsed, so that a long step does not look stuck. */
  readonly onElapsed?: (seconds: number) => void;
}

/** Milliseconds between two progress lines of a long step. */
const PROGRESS_INTERVAL_MS = 10_000;
/** Milliseconds a program has to end by itself before it is killed. */
const GRACE_MS = 2_000;
/** Characters of output kept for the error message. */
const TAIL_LENGTH = 800;

/**
 * Runs a program to its end and returns its standard output. Throws if it cannot be started, ends with a code other
 * than 0, or takes too long; the message then contains the end of its output.
 */
export async function runCommand(command: string, args: readonly string[], options: CommandOptions): Promise<string> {
  const { env, cwd, timeoutMs, signal, onElapsed } = options;
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { env, ...(cwd && { cwd }), stdio: ['ignore', 'pipe', 'pipe'] });
    let stdout = '';
    let tail = '';
    const started = performance.now();
    const progress = setInterval(
      () => onElapsed?.(Math.round((performance.now() - started) / 1000)),
      PROGRESS_INTERVAL_MS,
    );
    const timeout = setTimeout(() => giveUp(new Error(`not done after ${timeoutMs / 1000} s`)), timeoutMs);
    const onAbort = (): void => giveUp(signal?.reason instanceof Error ? signal.reason : new Error('given up'));
    signal?.addEventListener('abort', onAbort, { once: true });

    child.stdout.on('data', (chunk: Buffer) => {
      stdout += chunk.toString();
      tail = (tail + chunk.toString()).slice(-TAIL_LENGTH);
    });
    child.stderr.on('data', (chunk: Buffer) => {
      tail = (tail + chunk.toString()).slice(-TAIL_LENGTH);
    });
    child.on('error', (error) => settle(() => reject(error)));
    child.on('close', (code, killedBy) => {
      if (code === 0) return settle(() => resolve(stdout));
      const end = code === null ? `was ended by ${killedBy}` : `ended with code ${code}`;
      settle(() => reject(new Error(`${command} ${end}${tail.trim() && `: ${tail.trim()}`}`)));
    });

    function giveUp(reason: Error): void {
      child.kill('SIGTERM');
      const kill = setTimeout(() => child.kill('SIGKILL'), GRACE_MS);
      child.once('exit', () => clearTimeout(kill));
      settle(() => reject(reason));
    }

    function settle(report: () => void): void {
      clearInterval(progress);
      clearTimeout(timeout);
      signal?.removeEventListener('abort', onAbort);
      report();
    }
  });
}

/** The absolute path of a program on `PATH`, or undefined. */
export async function findOnPath(program: string, env: NodeJS.ProcessEnv): Promise<string | undefined> {
  for (const folder of (env['PATH'] ?? '').split(delimiter)) {
    // An empty entry means the working folder, from which nothing should be run by accident.
    if (folder === '') continue;
    const path = join(folder, executableName(program));
    if (await isExecutable(path)) return path;
  }
  return undefined;
}

/** Whether a path is a file that this user may run. */
export async function isExecutable(path: string): Promise<boolean> {
  try {
    await access(path, constants.X_OK);
    return (await stat(path)).isFile();
  } catch {
    return false;
  }
}

/** A program's file name on this platform. */
export function executableName(program: string): string {
  return process.platform === 'win32' ? `${program}.exe` : program;
}
