import { mkdir, readdir, rm, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { runCommand } from './run-command.js';

/** Options of {@link downloadWithSdk}. */
interface SdkDownloadOptions {
  readonly kind: 'dev-server' | 'time-skipping';
  /** Folder for the SDK's download. Used by one process at a time, and removed if the download fails. */
  readonly folder: string;
  readonly env: NodeJS.ProcessEnv;
  readonly onProgress: (line: string) => void;
  /** Milliseconds without a new byte after which the download is given up. */
  readonly stallMs: number;
}

/** The SDK's suffix for an unfinished download. */
const PARTIAL = '.downloading';
/** Longest time for a download that makes progress, ms. */
const TOTAL_TIMEOUT_MS = 15 * 60_000;

/**
 * Lets the Temporal SDK download the server that matches it, and returns the path of the executable. Throws if the
 * download fails or stalls, or the server does not start.
 */
export async function downloadWithSdk(options: SdkDownloadOptions): Promise<string> {
  const { kind, folder, env, onProgress, stallMs } = options;
  await mkdir(folder, { recursive: true });
  // A partial file of a killed process would make the SDK wait for that process forever.
  for (const name of await readdir(folder)) if (name.endsWith(PARTIAL)) await rm(join(folder, name), { force: true });

  const stalled = new AbortController();
  const watch = watchForStall(folder, stallMs, () =>
    stalled.abort(new Error(`no data arrived for ${stallMs / 1000} s, so the download was given up`)),
  );
  try {
    await runCommand(process.execPath, [childScript(), kind, folder], {
      env,
      timeoutMs: TOTAL_TIMEOUT_MS,
      signal: stalled.signal,
      onElapsed: (seconds) => onProgress(`  downloading with the Temporal SDK, ${seconds} s so far`),
    });
  } catch (error) {
    await rm(folder, { recursive: true, force: true });
    throw new Error(innermost(error), { cause: error });
  } finally {
    clearInterval(watch);
  }
  const prefix = kind === 'dev-server' ? 'temporal-sdk-' : 'temporal-test-server-sdk-';
  const name = (await readdir(folder)).find((file) => file.startsWith(prefix) && !file.endsWith(PARTIAL));
  if (name === undefined) throw new Error(`the SDK reported success, but left no ${prefix}* in ${folder}`);
  return join(folder, name);
}

/** Calls `onStall` when the size of a folder stops growing: the SDK itself waits forever on a silent network. */
function watchForStall(folder: string, stallMs: number, onStall: () => void): NodeJS.Timeout {
  let bytes = 0;
  let since = performance.now();
  const look = async (): Promise<void> => {
    const now = await bytesIn(folder).catch(() => 0);
    if (now > bytes) since = performance.now();
    bytes = now;
    if (performance.now() - since > stallMs) onStall();
  };
  return setInterval(() => void look(), Math.min(500, stallMs));
}

async function bytesIn(folder: string): Promise<number> {
  let bytes = 0;
  for (const name of await readdir(folder)) bytes += (await stat(join(folder, name))).size;
  return bytes;
}

/** The SDK's message repeats its address and its causes; its end has the actual reason. */
function innermost(error: unknown): string {
  const message = error instanceof Error ? error.message : String(error);
  return message.includes('dns error') || message.includes('(Connect)')
    ? `the download site cannot be reached (${message.split(': ').slice(-2).join(': ').trim()})`
    : message;
}

/** The child process runs compiled code, even if this module itself was loaded from its source. */
function childScript(): string {
  const here = fileURLToPath(import.meta.url);
  const name = 'sdk-download-child.js';
  if (here.endsWith('.js')) return join(dirname(here), name);
  return join(dirname(here), '..', '..', 'dist', 'temporal', 'server', name);
}
