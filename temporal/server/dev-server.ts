/**
 * Starts a Temporal server on this machine, for evaluation and tests. It listens on the loopback interface only and
 * keeps its state in one file. In production, Temporal is a separate cluster, and only {@link ensureNamespace} is used
 * from here.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { mkdir, open, readFile, stat } from 'node:fs/promises';
import { createServer } from 'node:net';
import { basename, dirname, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Connection, isGrpcServiceError } from '@temporalio/client';
import { msToTs } from '@temporalio/common/lib/time.js';
import { answersTcp } from './answers-tcp.js';
import { directIfLoopback } from '../direct-loopback.js';
import { messageOf } from './ways.js';

/** The default namespace of Farshore. */
export const FARSHORE_NAMESPACE = 'farshore';

/** A requested port is not available. The message names it and the remedy. */
export class PortUnavailableError extends Error {
  override readonly name = 'PortUnavailableError';
}

/** How {@link startDevServer} starts a server. */
export interface DevServerOptions {
  /** The Temporal CLI, from `findTemporalExecutable`. */
  readonly executable: string;
  /** The file that holds the server's state; made, with its folder, if missing. */
  readonly dbFile: string;
  /** The file that the server's output is appended to; made, with its folder, if missing. */
  readonly logFile: string;
  /** Port of the gRPC service on 127.0.0.1. @default a free one */
  readonly port?: number;
  /** Port of the Web UI on 127.0.0.1. @default a free one */
  readonly uiPort?: number;
  /** The endpoint through which the Web UI decrypts data. @default none */
  readonly codecEndpoint?: string;
  /** Registered if missing. @default {@link FARSHORE_NAMESPACE} */
  readonly namespace?: string;
  /** Milliseconds the server may take to be usable. @default 30000 */
  readonly startTimeoutMs?: number;
  /** Dynamic configuration of the server, for tests. @default only the values that are always set */
  readonly dynamicConfig?: Readonly<Record<string, number>>;
}

/** A server that {@link startDevServer} started. It is stopped when this process exits, unless it was killed. */
export interface DevServer {
  /** Host and port of the gRPC service. */
  readonly address: string;
  readonly uiUrl: string;
  readonly namespace: string;
  readonly pid: number;
  /** Resolves when the server has ended, for whatever reason. */
  readonly ended: Promise<void>;
  /** Stops the server and resolves when it has ended. May be called more than once. */
  stop(): Promise<void>;
}

const HOST = '127.0.0.1';
/** How long the history of a closed workflow is kept; the `default` namespace keeps it for one day. */
const RETENTION = '90 days';
/** Milliseconds a server has to stop by itself (it takes about one second) before it is killed. */
const STOP_GRACE_MS = 10_000;
/** Each attempt uses other ports. */
const START_ATTEMPTS = 3;
/** gRPC status codes. */
const NOT_FOUND = 5;
const ALREADY_EXISTS = 6;

/**
 * Starts a server and returns once the namespace can be used.
 *
 * @throws PortUnavailableError if a given port is in use, and an error that holds the end of the
 *   server's log if it ends early or is not usable in time; nothing is left running then.
 */
export async function startDevServer(options: DevServerOptions): Promise<DevServer> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await startOnce(options);
    } catch (error) {
      // A port that was free when it was chosen may be taken when the server opens it.
      const isChosenHere = options.port === undefined || options.uiPort === undefined;
      if (!isChosenHere || attempt === START_ATTEMPTS || !messageOf(error).includes('address already in use'))
        throw error;
    }
  }
}

async function startOnce(options: DevServerOptions): Promise<DevServer> {
  const { executable, namespace = FARSHORE_NAMESPACE, startTimeoutMs = 30_000 } = options;
  const dbFile = resolve(options.dbFile);
  const logFile = resolve(options.logFile);
  const port = await listenablePort(options.port, 'Temporal server');
  const uiPort = await listenablePort(options.uiPort, 'Temporal Web UI');
  await mkdir(dirname(dbFile), { recursive: true });
  await mkdir(dirname(logFile), { recursive: true });

  const log = await open(logFile, 'a');
  const logStart = (await stat(logFile)).size;
  const child = spawn(resolveExecutable(executable), serverArguments(port, uiPort, dbFile, options), {
    // The server uses its database's name as a part of an address, in which #, ? and % have other meanings: it gets
    // only the file name, and the folder as its working folder.
    cwd: dirname(dbFile),
    stdio: ['ignore', log.fd, log.fd],
    // A separate process group: Ctrl-C must reach the workers first, which need the server to finish their work.
    detached: true,
  });
  const server = superviseChild(child);
  await log.close();
  const address = `${HOST}:${port}`;
  try {
    const deadline = performance.now() + startTimeoutMs;
    await Promise.race([becomeUsable(address, namespace, deadline, server.failure), rejectOn(server.failure)]);
  } catch (error) {
    await server.stop();
    const lines = (await readFile(logFile)).subarray(logStart).toString().trim().split('\n');
    // If a server panics, the reason comes before its stack, which is longer than the part of the log that is shown.
    const reasons = lines.slice(0, -8).filter((line) => /^panic:|address already in use/.test(line));
    const tail = [...reasons, ...lines.slice(-8)].join('\n');
    const what = `The Temporal server did not start (${executable}): ${messageOf(error)}.`;
    throw new Error(`${what} The end of ${logFile}:\n${tail}`, { cause: error });
  }
  const { pid, ended, stop } = server;
  return { address, uiUrl: `http://${HOST}:${uiPort}`, namespace, pid, ended, stop };
}

/**
 * Registers a namespace that keeps closed workflows for 90 days, and returns once it can be used. A namespace that
 * exists is left as it is. Throws the gRPC error if the server refuses.
 */
export async function ensureNamespace(connection: Connection, namespace: string): Promise<void> {
  const { workflowService } = connection;
  try {
    await workflowService.registerNamespace({
      namespace,
      description: 'Farshore site recovery',
      workflowExecutionRetentionPeriod: msToTs(RETENTION),
    });
  } catch (error) {
    if (!hasStatus(error, ALREADY_EXISTS)) throw error;
  }
  // Each frontend learns of a new namespace some time after it is registered, up to ten seconds in a cluster.
  const deadline = performance.now() + 20_000;
  for (;;) {
    try {
      await workflowService.describeTaskQueue({ namespace, taskQueue: { name: 'farshore' }, taskQueueType: 1 });
      return;
    } catch (error) {
      if (!hasStatus(error, NOT_FOUND) || performance.now() > deadline) throw error;
    }
    await sleep(100);
  }
}

function serverArguments(
  port: number,
  uiPort: number,
  dbFile: string,
  { codecEndpoint, dynamicConfig: more }: Pick<DevServerOptions, 'codecEndpoint' | 'dynamicConfig'>,
): string[] {
  const dynamicConfig = {
    // One partition each: on one machine, more of them only add latency to a task that finds no waiting worker.
    'matching.numTaskqueueReadPartitions': 1,
    'matching.numTaskqueueWritePartitions': 1,
    // A worker that completes a workflow task may be handed the activities it scheduled in the same answer.
    'system.enableActivityEagerExecution': true,
    ...more,
  };
  const flags = {
    ip: HOST,
    port: port,
    'ui-port': uiPort,
    'db-filename': `./${basename(dbFile)}`,
    'log-level': 'warn',
    'log-format': 'text',
    color: 'never',
    // Commits are in the file all the same, with one sync instead of four: a third less processor time.
    'sqlite-pragma': 'journal_mode=WAL',
    ...(codecEndpoint !== undefined && { 'ui-codec-endpoint': codecEndpoint }),
  };
  return [
    'server',
    'start-dev',
    ...Object.entries(flags).flatMap(([flag, value]) => [`--${flag}`, `${value}`]),
    ...Object.entries(dynamicConfig).flatMap(([key, value]) => ['--dynamic-config-value', `${key}=${value}`]),
  ];
}

/** A name without a folder is looked up on the PATH. */
const resolveExecutable = (executable: string): string => (executable.includes('/') ? resolve(executable) : executable);

/** Supervises a started server. `failure` is aborted with the reason when it has ended or could not be started. */
function superviseChild(child: ChildProcess): Pick<DevServer, 'pid' | 'ended' | 'stop'> & { failure: AbortSignal } {
  const failure = new AbortController();
  const stopOnExit = (): void => void child.kill('SIGTERM');
  process.once('exit', stopOnExit);
  const ended = new Promise<void>((done) => {
    const end = (reason: Error): void => {
      process.removeListener('exit', stopOnExit);
      failure.abort(reason);
      done();
    };
    child.once('error', end);
    child.once('exit', (code, signal) => end(new Error(`it ended with ${signal ?? `code ${code}`}`)));
  });
  const stop = async (): Promise<void> => {
    // Does nothing to a process that has ended, even if its id has been reused.
    child.kill('SIGTERM');
    const kill = setTimeout(() => child.kill('SIGKILL'), STOP_GRACE_MS);
    await ended;
    clearTimeout(kill);
  };
  // Without an id, the program could not be started, and `failure` has the reason.
  return { pid: child.pid ?? 0, ended, stop, failure: failure.signal };
}

/** Waits for the server and prepares its namespace. Throws when the deadline (of `performance.now()`) passes. */
async function becomeUsable(address: string, namespace: string, deadline: number, failure: AbortSignal): Promise<void> {
  // Plain TCP first: a gRPC channel that is refused waits a second or more before it tries again.
  while (!(await answersTcp(address))) {
    failure.throwIfAborted();
    if (performance.now() > deadline) throw new Error(`nothing answered at ${address} in time`);
    await sleep(50);
  }
  const left = (): number => Math.max(1, deadline - performance.now());
  const connection = await Connection.connect({ address, connectTimeout: left(), ...directIfLoopback(address) });
  try {
    await connection.withDeadline(Date.now() + left(), () => ensureNamespace(connection, namespace));
  } finally {
    await connection.close();
  }
}

function rejectOn(signal: AbortSignal): Promise<never> {
  return new Promise((_, reject) => {
    const report = (): void => reject(signal.reason as Error);
    if (signal.aborted) report();
    else signal.addEventListener('abort', report, { once: true });
  });
}

/** The given port if it is available, or a free one. Throws an error that names the port and the remedy. */
async function listenablePort(port: number | undefined, what: string): Promise<number> {
  return new Promise((answer, reject) => {
    const probe = createServer();
    probe.once('error', (error: NodeJS.ErrnoException) => {
      const problem = error.code === 'EADDRINUSE' ? 'is in use' : `is not available (${error.message})`;
      const remedy =
        'Stop the program that listens there, choose another port, or leave the port out to get a free one.';
      reject(
        new PortUnavailableError(`Port ${port} of ${HOST}, requested for the ${what}, ${problem}. ${remedy}`, {
          cause: error,
        }),
      );
    });
    probe.listen(port ?? 0, HOST, () => {
      const bound = probe.address();
      probe.close(() => answer(typeof bound === 'object' && bound !== null ? bound.port : 0));
    });
  });
}

function hasStatus(error: unknown, code: number): boolean {
  return isGrpcServiceError(error) && Number(error.code) === code;
}
