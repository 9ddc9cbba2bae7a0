/**
 * Finds a Temporal server for Farshore: a running one, if the environment names it, or else an executable of the
 * Temporal CLI, which is downloaded or built if necessary. Starts nothing.
 */
import { mkdir, mkdtemp, rename, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { configuredServer, type ConfiguredServer } from '../configured-server.js';
import { cacheFolder } from './cache-folder.js';
import { withInstallLock } from './install-lock.js';
import { isSupportedServer, MINIMUM_SERVER } from '../server-version.js';
import { executableName, findOnPath, isExecutable, runCommand } from './run-command.js';
import { downloadWithSdk } from './sdk-download.js';
import { INSTALLED_MEANWHILE, firstWayThatWorks, messageOf, type FoundExecutable, type Way } from './ways.js';

/** Options of {@link findDevServer}. */
export interface FindOptions {
  /** @default process.env */
  readonly env?: NodeJS.ProcessEnv;
  /** Called with a line about each step that takes time. @default silent */
  readonly onProgress?: (line: string) => void;
  /** Milliseconds without a new byte after which a download is given up. @default 20000 */
  readonly downloadStallMs?: number;
}

/** An executable of the Temporal CLI that contains a suitable server. */
export interface ServerExecutable {
  readonly kind: 'executable';
  readonly path: string;
  /** How it was found, worded for a message. */
  readonly from: string;
}

/**
 * The CLI built from source if there is no other: the last release whose module can be installed directly (later ones
 * have `replace` directives, which `go install` refuses).
 */
const GO_PACKAGE = 'github.com/temporalio/cli/cmd/temporal@v1.5.1';
/** Milliseconds a build from source may take; on two cores it takes three to six minutes. */
const BUILD_TIMEOUT_MS = 30 * 60_000;

/**
 * The Temporal server to use: the one that the environment configures ({@link configuredServer}), or an executable
 * ({@link findTemporalExecutable}). Throws what they throw.
 */
export async function findDevServer(options: FindOptions = {}): Promise<ConfiguredServer | ServerExecutable> {
  return configuredServer(options.env) ?? (await findTemporalExecutable(options));
}

/**
 * An executable of the Temporal CLI: `temporal` on `PATH`, the one kept in the cache folder, the Temporal SDK's own
 * download, or a build from source. The latter two are kept in the cache folder. Throws `ProvisioningError` listing
 * what was tried.
 */
export async function findTemporalExecutable(options: FindOptions = {}): Promise<ServerExecutable> {
  const { env = process.env, onProgress = () => {}, downloadStallMs = 20_000 } = options;
  const cache = cacheFolder(env);
  const cached = join(cache, 'bin', executableName('temporal'));
  const install = (fetch: () => Promise<string>): Promise<FoundExecutable> =>
    withInstallLock(cache, 'temporal', onProgress, async () => {
      const problem = await problemWith(cached, env);
      if (problem === undefined) return { path: cached, from: INSTALLED_MEANWHILE };
      await moveIntoPlace(await fetch(), cached, env);
      return { path: cached };
    });

  const ways: Way[] = [
    {
      name: 'temporal on PATH',
      remedy: 'install the Temporal CLI with your package manager, or set TEMPORAL_ADDRESS to a running server',
      find: async () => {
        const path = await findOnPath('temporal', env);
        if (path === undefined) throw new Error('no such program');
        return { path: await suitable(path, env) };
      },
    },
    {
      name: 'the one kept from an earlier run',
      remedy: `put an executable of the Temporal CLI at ${cached}`,
      find: async () => ({ path: await suitable(cached, env) }),
    },
    {
      name: "the Temporal SDK's own download",
      remedy: 'give this machine HTTPS access to the internet',
      find: () =>
        install(() => {
          onProgress('Downloading the Temporal server with the Temporal SDK.');
          const folder = join(cache, 'sdk-download');
          return downloadWithSdk({ kind: 'dev-server', folder, env, onProgress, stallMs: downloadStallMs });
        }),
    },
    {
      name: `go install ${GO_PACKAGE}`,
      remedy: 'install Go 1.25 or newer, with access to its module proxy',
      find: async () => {
        const go = await findOnPath('go', env);
        if (go === undefined) throw new Error('go is not on PATH');
        return install(() => build(go, cache, env, onProgress));
      },
    },
  ];
  return { kind: 'executable', ...(await firstWayThatWorks('Temporal server', ways)) };
}

/** Builds the CLI in a separate folder, and returns the executable. */
async function build(
  go: string,
  cache: string,
  env: NodeJS.ProcessEnv,
  onProgress: (line: string) => void,
): Promise<string> {
  const folder = await mkdtemp(join(cache, 'build-'));
  onProgress(`Building the Temporal server from source: go install ${GO_PACKAGE}`);
  onProgress('  This happens once and takes three to six minutes on two cores.');
  try {
    await runCommand(go, ['install', GO_PACKAGE], {
      env: { ...env, GOBIN: folder },
      // Outside of any Go module or workspace, which would change the build.
      cwd: folder,
      timeoutMs: BUILD_TIMEOUT_MS,
      onElapsed: (seconds) => onProgress(`  building, ${seconds} s so far`),
    });
  } catch (error) {
    await rm(folder, { recursive: true, force: true });
    throw error;
  }
  return join(folder, executableName('temporal'));
}

/** Checks a new executable and renames it into the cache atomically, so that it never appears incomplete. */
async function moveIntoPlace(path: string, cached: string, env: NodeJS.ProcessEnv): Promise<void> {
  try {
    await suitable(path, env);
    await mkdir(dirname(cached), { recursive: true });
    await rename(path, cached);
  } finally {
    // The folder was made for this one file.
    await rm(dirname(path), { recursive: true, force: true });
  }
}

/** The path itself, if it is a suitable executable; else throws an error that says why it is not. */
async function suitable(path: string, env: NodeJS.ProcessEnv): Promise<string> {
  const problem = await problemWith(path, env);
  if (problem !== undefined) throw new Error(problem);
  return path;
}

/** Why an executable is not the Temporal CLI with a server that is new enough; undefined if it is. */
async function problemWith(path: string, env: NodeJS.ProcessEnv): Promise<string | undefined> {
  if (!(await isExecutable(path))) return `there is no executable ${path}`;
  let output: string;
  try {
    output = await runCommand(path, ['--version'], { env, timeoutMs: 20_000 });
  } catch (error) {
    return `it does not run: ${messageOf(error)}`;
  }
  const [, major, minor] = /server (\d+)\.(\d+)/i.exec(output) ?? [];
  if (major === undefined || minor === undefined) {
    return `${path} is not the Temporal CLI: --version printed ${JSON.stringify(output.trim())}`;
  }
  if (isSupportedServer(`${major}.${minor}`)) return undefined;
  return `${path} holds Temporal server ${major}.${minor}, but Farshore needs ${MINIMUM_SERVER.join('.')} or newer`;
}
