/**
 * The embedded hypervisor as a process: `node dist/workers/hypervisor-main.js CONFIG.json`. Prints one line when it is
 * ready; its log is JSON lines on stderr. Killed it loses nothing; asked to end (SIGTERM) it puts everything down in
 * order, so that a restart of the machine costs no resynchronization.
 */
import { pino } from 'pino';
import { serveHypervisor, serveRecoveryCompute, type ControlServer } from '../sites/embedded/control-server.js';
import { readHypervisorConfig, type HypervisorConfig } from '../sites/embedded/hypervisor-config.js';
import { EmbeddedHypervisor, type HypervisorLog } from '../sites/embedded/hypervisor.js';
import { EmbeddedRecoveryCompute } from '../sites/embedded/hypervisor-recovery.js';
import { openReplicaStore } from './replica-store.js';
import { stopSignal } from './stop-signals.js';

const logger = pino({ name: 'hypervisor' }, pino.destination({ dest: 2, sync: true }));
const log: HypervisorLog = { warn: (message, error) => logger.warn({ err: error }, message) };

/** What a role has to close, in this order. */
type Running = readonly { close(): Promise<void> }[];

async function start(config: HypervisorConfig): Promise<Running> {
  let control: ControlServer;
  if (config.recovery) {
    const store = await openReplicaStore(config.recovery.store);
    const compute = await EmbeddedRecoveryCompute.open(config, store, log);
    control = await serveRecoveryCompute(config.controlSocket, compute, log);
    return [control, compute, store];
  }
  const hypervisor = await EmbeddedHypervisor.open(config, log);
  control = await serveHypervisor(config.controlSocket, hypervisor, log);
  return [control, hypervisor];
}

async function main(): Promise<void> {
  const file = process.argv[2];
  if (file === undefined) throw new Error('usage: hypervisor-main CONFIG.json');
  const config = await readHypervisorConfig(file);
  const running = await start(config);
  const stop = stopSignal({ withSupervisor: process.env['FARSHORE_SUPERVISED'] === '1' });
  const end = async () => {
    for (const part of running) await part.close();
    logger.info('everything is put down');
    process.exit(0);
  };
  stop.addEventListener('abort', () => void end().catch(fail), { once: true });
  process.stdout.write(`hypervisor ready: ${config.controlSocket}\n`);
}

function fail(error: unknown): void {
  logger.fatal({ err: error }, (error as Error).message);
  process.exit(1);
}

main().catch(fail);
