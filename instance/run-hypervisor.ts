/** Serves an embedded hypervisor or recovery compute for as long as its process lives. */
import { pino } from 'pino';
import { serveHypervisor, serveRecoveryCompute } from '../sites/hypervisor/control-server.js';
import type { HypervisorConfig } from '../sites/hypervisor/hypervisor-config.js';
import { EmbeddedHypervisor, type HypervisorLog } from '../sites/hypervisor/hypervisor.js';
import { EmbeddedRecoveryCompute } from '../sites/hypervisor/recovery-compute.js';
import { openReplicaStore } from '../local/open-replica-store.js';
import { stopSignal } from '../workers/stop-signals.js';

const logger = pino({ name: 'hypervisor' }, pino.destination({ dest: 2, sync: true }));
const log: HypervisorLog = { warn: (message, error) => logger.warn({ err: error }, message) };

/** The parts of a role, in the order in which they are closed. */
type Parts = readonly { close(): Promise<void> }[];

/** Answers until its process is told to stop or is killed; being killed loses nothing. */
export class RunningHypervisor {
  private constructor(private readonly parts: Parts) {}

  /**
   * Its log is JSON lines on stderr.
   * @throws CatalogueError InvalidVmState if another process has the state folder, and the errors of the replica store;
   * the errno of the file system.
   */
  static async start(config: HypervisorConfig): Promise<RunningHypervisor> {
    return new RunningHypervisor(await start(config));
  }

  /**
   * Resolves when the process has been told to stop and everything is closed in order.
   * @param options see {@link stopSignal}.
   */
  async untilStopped(options: { readonly withSupervisor: boolean }): Promise<void> {
    const stop = stopSignal(options);
    await new Promise<void>((resolve) => stop.addEventListener('abort', () => resolve(), { once: true }));
    for (const part of this.parts) await part.close();
    logger.info('everything is written to disk');
  }
}

/** The process cannot continue. */
export function endWith(error: unknown): never {
  logger.fatal({ err: error }, (error as Error).message);
  process.exit(1);
}

async function start(config: HypervisorConfig): Promise<Parts> {
  if (config.recovery) {
    const store = await openReplicaStore(config.recovery.store);
    const compute = await EmbeddedRecoveryCompute.open(config, store, log);
    return [await serveRecoveryCompute(config.controlSocket, compute, log), compute, store];
  }
  const hypervisor = await EmbeddedHypervisor.open(config, log);
  return [await serveHypervisor(config.controlSocket, hypervisor, log), hypervisor];
}
