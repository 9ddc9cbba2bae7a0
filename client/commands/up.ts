/** `up` and `down`: start and stop a whole instance on this machine. */
import { spawn } from 'node:child_process';
import { open, readFile, stat } from 'node:fs/promises';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Command } from 'commander';
import { DamagedInstanceError, type DataFolder, type Instance } from '../../config/data-folder.js';
import { configuredKeyFile, readKeyFile } from '../../temporal/encryption/key-file.js';
import { clearUpAfter, isLeftOver } from '../../instance/left-over-server.js';
import { loadSite, type LoadedSite } from '../../config/site-file.js';
import { stopSignal } from '../../workers/stop-signals.js';
import { DetachedStartError, RefusedError, UnreachableError } from '../errors.js';
import { fields, note } from '../output.js';
import { counted } from '../../domain/counted.js';
import { vaultBoardId } from '../../domain/ids.js';
import { shellWord } from '../../domain/shell-word.js';
import { portNumber } from './numbers.js';
import { savedQueries } from '../saved-queries.js';
import { workflowsUrl, workflowUrl } from '../web-ui-pages.js';
import { answerOf } from '../temporal-answer.js';
import { commonOptions, dataFolderOf, environmentServer, heldReplicas, outputOf, siteFileOf } from './place.js';

interface UpOptions {
  readonly detach?: true;
  readonly temporalPort?: number;
  readonly uiPort?: number;
  readonly metrics?: true;
  readonly newStore?: true;
}

const POLL_MS = 200;
/** An instance stops its workers one after the other, and lets each finish its current work. */
const DOWN_TIMEOUT_MS = 180_000;
const TAIL_LINES = 15;

export function upCommand(): Command {
  return new Command('up')
    .summary('start a whole site on this machine, for evaluation')
    .description(
      'Starts Temporal, a hypervisor for each host of the site file, the recovery compute, and a worker for each ' +
        'role, and restarts them if they die. Runs in the foreground until Ctrl-C. Protection resumes at the next ' +
        '`up` with the same data folder. The site file and its disks are checked before anything starts. If ' +
        'TEMPORAL_ADDRESS is set, uses that Temporal instead of starting one. If FARSHORE_ENCRYPTION_KEYS is set, ' +
        'encrypts the data in Temporal and serves a codec endpoint to the Web UI.',
    )
    .option(
      '--detach',
      'return once the instance is up, and leave it running in the background (log: DATA/logs/up.log)',
    )
    .option('--temporal-port <port>', 'port of the Temporal server on 127.0.0.1 (default: a free one)', portNumber)
    .option('--ui-port <port>', 'port of the Temporal Web UI on 127.0.0.1 (default: a free one)', portNumber)
    .option('--new-store', 'create a replica store, or use the one found, even if this vault used another one before')
    .option('--metrics', 'serve the metrics of each worker for Prometheus on a free port of 127.0.0.1')
    .addHelpText('after', '\nExample:\n  farshore up --site examples/site.yaml --data /var/tmp/farshore --detach')
    .action(async (options: UpOptions, command: Command) => {
      const common = commonOptions(command);
      const data = dataFolderOf(common);
      const site = await loadSite(siteFileOf(common), { disks: true });
      if (await data.isHeld()) throw await heldError(data);
      environmentServer();
      await checkKeys();
      await makeFolder(data);
      const started = options.detach ? await startDetached(data, site, options) : await startHere(data, site, options);
      const { instance } = started;
      outputOf(command).result('up', { ...instance, data: data.path }, await upText(instance, data, site));
      await started.untilStopped();
    });
}

export function downCommand(): Command {
  return new Command('down')
    .summary('stop the instance that `up` started')
    .description('Stops the instance of a data folder and waits until it has ended. Succeeds if none is running.')
    .action(async (_options: object, command: Command) => {
      const data = dataFolderOf(commonOptions(command));
      const stopped = await stopInstance(data);
      const text = stopped
        ? `The instance in ${data.path} (process ${stopped}) has stopped.`
        : `No instance is running in ${data.path}.`;
      outputOf(command).result(
        'down',
        { data: data.path, stopped: stopped !== undefined, ...(stopped !== undefined && { pid: stopped }) },
        text,
      );
    });
}

/** @throws DocumentError */
async function checkKeys(): Promise<void> {
  const file = configuredKeyFile();
  if (file !== undefined) await readKeyFile(file);
}

const logsOf = (data: DataFolder): string => path.dirname(data.log('up'));

/** @throws RefusedError */
async function makeFolder(data: DataFolder): Promise<void> {
  await data.make().catch((error: unknown) => {
    throw new RefusedError(`the data folder ${data.path} can't be used: ${(error as Error).message}`, { cause: error });
  });
}

interface Started {
  readonly instance: Instance;
  untilStopped(): Promise<void>;
}

async function startHere(data: DataFolder, site: LoadedSite, options: UpOptions): Promise<Started> {
  const signal = stopSignal({ withSupervisor: false });
  const { startInstance } = await import('../../instance/up.js');
  const { temporalPort, uiPort, metrics = false, newStore = false } = options;
  const running = await startInstance({
    data,
    site,
    onProgress: note,
    metrics,
    newStore,
    ...(temporalPort !== undefined && { temporalPort }),
    ...(uiPort !== undefined && { uiPort }),
  }).catch((error: unknown) => {
    throw startError(error, data);
  });
  return {
    instance: running.instance,
    async untilStopped() {
      if (!signal.aborted) {
        await new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }));
      }
      note('Stopping');
      await running.stop();
    },
  };
}

/** The errors of startInstance are clear enough to operators, but scripts need a code. */
function startError(error: unknown, data: DataFolder): unknown {
  if (!(error instanceof Error) || error.name === 'ProvisioningError') return error;
  // These errors name their remedy and say who has to act.
  if (error.name === 'CatalogueError') return error;
  if (error.name === 'TemporalProblem') return answerOf(error);
  if (error.name === 'PortUnavailableError') return new RefusedError(error.message, { cause: error });
  const message = `the instance could not be started: ${error.message}\n  Logs: ${logsOf(data)}`;
  return new UnreachableError(message, { cause: error });
}

/** Runs the same command without --detach, in its own session. */
async function startDetached(data: DataFolder, site: LoadedSite, options: UpOptions): Promise<Started> {
  const logFile = data.log('up');
  const log = await open(logFile, 'a');
  const logStart = (await stat(logFile)).size;
  const args = ['up', '--data', data.path, '--site', site.file, ...repeatedArguments(options)];
  const child = spawn(process.execPath, [process.argv[1]!, ...args], {
    detached: true,
    stdio: ['ignore', log.fd, log.fd],
  });
  await log.close();
  let ended: { code: number | null } | undefined;
  child.once('exit', (code) => (ended = { code }));
  child.once('error', () => (ended = { code: null }));
  note(`Starting in the background; log: ${logFile}`);
  for (;;) {
    const instance = await data.readableInstance();
    if (instance !== undefined && instance.pid === child.pid) {
      child.unref();
      return { instance, untilStopped: () => Promise.resolve() };
    }
    if (ended) {
      const said = (await readFile(logFile))
        .subarray(logStart)
        .toString()
        .trim()
        .split('\n')
        .slice(-TAIL_LINES)
        .join('\n');
      throw new DetachedStartError(`the instance could not be started; ${logFile} ends with:\n${said}`, ended.code);
    }
    await sleep(POLL_MS);
  }
}

const repeatedArguments = ({ temporalPort, uiPort, metrics, newStore }: UpOptions): string[] => [
  ...(newStore ? ['--new-store'] : []),
  ...(metrics ? ['--metrics'] : []),
  ...(temporalPort === undefined ? [] : ['--temporal-port', `${temporalPort}`]),
  ...(uiPort === undefined ? [] : ['--ui-port', `${uiPort}`]),
];

/** @returns the process ID of the instance that was stopped. @throws UnreachableError if it does not stop. */
async function stopInstance(data: DataFolder): Promise<number | undefined> {
  const deadline = performance.now() + DOWN_TIMEOUT_MS;
  let stopping: number | undefined;
  while (await data.isHeld()) {
    // An instance that is just starting has not published its process ID yet.
    const pid = await instanceProcess(data);
    if (pid !== undefined && stopping === undefined) {
      process.kill(pid, 'SIGTERM');
      stopping = pid;
      note(`Stopping process ${pid}`);
    }
    if (performance.now() > deadline) {
      const who = stopping ? `process ${stopping}` : 'the process that is starting an instance';
      throw new UnreachableError(`${who} still holds ${data.path}; see ${data.log('up')}, or end it yourself`);
    }
    await sleep(POLL_MS);
  }
  if (stopping === undefined) await clearUpAfterKill(data);
  return stopping;
}

/** The process ID that the instance published; if that record is damaged, of the process that locks the folder. */
async function instanceProcess(data: DataFolder): Promise<number | undefined> {
  try {
    return (await data.readInstance())?.pid;
  } catch (error) {
    if (!(error instanceof DamagedInstanceError)) throw error;
    return await data.holder();
  }
}

async function clearUpAfterKill(data: DataFolder): Promise<void> {
  if (!(await isLeftOver(data))) return;
  const hold = await data.hold();
  try {
    if (await clearUpAfter(data)) note('Cleaned up after an instance that was killed');
  } finally {
    await hold.close();
  }
}

async function heldError(data: DataFolder): Promise<RefusedError> {
  const holder = await data.readableInstance();
  const who = holder ? ` (process ${holder.pid}, since ${holder.startedAt})` : '';
  return new RefusedError(
    `the data folder ${data.path} is held by another instance${who}: use that one, stop it with \`farshore down\`, or choose another folder with --data`,
  );
}

async function upText(instance: Instance, data: DataFolder, { site }: LoadedSite): Promise<string> {
  const { address, uiUrl, namespace } = instance.temporal;
  const first = site.vms[0]?.name;
  const here =
    process.env['FARSHORE_DATA'] === undefined && data.path !== path.resolve('.farshore')
      ? ` --data ${shellWord(data.path)}`
      : '';
  // If there are replicas already, the operator will want to know their state.
  const held = await heldReplicas(site, []);
  const next = held.length > 0 ? ['status'] : ['vm list', ...(first === undefined ? [] : [`protect ${first} --wait`])];
  return `Farshore is up: vault ${instance.vault}, ${counted(site.vms.length, 'VM')}.\n${fields([
    ['Web UI', uiUrl === undefined ? undefined : workflowsUrl({ uiUrl, namespace })],
    ['Board', uiUrl === undefined ? undefined : workflowUrl({ uiUrl, namespace }, vaultBoardId(instance.vault))],
    ['Temporal', `${address}, namespace ${namespace}`],
    ['Open to', accessText(instance)],
    ['Encrypted', encryptionText(instance)],
    ['Data', data.path],
    ['Logs', logsOf(data)],
    ['Metrics', instance.metrics && Object.values(instance.metrics).sort().join('\n')],
    ['Stop', `farshore down${here}`],
    ['Watch', `farshore status --watch${here}`],
    [
      'Look',
      uiUrl === undefined
        ? undefined
        : Object.entries(savedQueries)
            .map(([name, { description }]) => `farshore open --query ${name}${here}  (${description})`)
            .join('\n'),
    ],
    ['Next', next.map((command) => `farshore ${command}${here}`).join('\n')],
  ])}`;
}

/** For the development server that the instance runs itself. */
const accessText = ({ temporal: { pid } }: Instance): string | undefined =>
  pid === undefined
    ? undefined
    : 'every user of this machine: this Temporal does not authenticate users (docs/security.md, "Who may use Temporal")';

function encryptionText({ encryption }: Instance): string | undefined {
  if (!encryption) return undefined;
  const { keyFile, codecEndpoint } = encryption;
  return `with ${keyFile}${codecEndpoint === undefined ? '' : `; the Web UI decrypts through ${codecEndpoint}`}`;
}
