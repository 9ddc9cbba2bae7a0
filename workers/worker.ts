/**
 * A worker of one role: its task queue, and the adapters of its activities.
 *
 * - `azure`: the recovery site: replica store, recovery compute, and the workflows.
 * - `vmm`: the Provider on a VMM server: inventory, prerequisites, VM power.
 * - `host`: the agent on a Hyper-V host: all disk I/O at the primary site.
 */
import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { Client } from '@temporalio/client';
import { NativeConnection, Runtime, Worker, type Logger, type WorkerOptions } from '@temporalio/worker';
import { createTargetActivities } from '../activities/target.js';
import { createResynchronizationActivities } from '../activities/resynchronization.js';
import { createSourceActivities } from '../activities/source.js';
import { createSourceFabricActivities } from '../activities/source-fabric.js';
import { createVaultActivities } from '../activities/watch-vault.js';
import { Turns, type TurnLimits } from '../activities/turns.js';
import { bandwidthRule } from '../domain/bandwidth.js';
import { taskQueues } from '../domain/ids.js';
import { workerInfo } from '../domain/measures.js';
import { lookEveryMs } from '../domain/host.js';
import { hostsOf } from '../domain/site.js';
import { BandwidthLimiter } from '../sites/bandwidth-limiter.js';
import { HypervisorClient, RecoveryComputeClient } from '../sites/hypervisor/control-client.js';
import { LimitedStore } from '../sites/limited-store.js';
import { configuredKeys, workerDataConverter } from '../temporal/encryption/data-converter.js';
import { LocalSite } from '../local/local-site.js';
import { RunningActivities } from './lost-activities.js';
import type { DataFolder } from '../config/data-folder.js';
import { directIfLoopback } from '../temporal/direct-loopback.js';
import type { LoadedSite } from '../config/site-file.js';
import { workerLogger } from './logger.js';
import type { MetricsAddress } from './metrics-address.js';
import { ownWorkOnly } from './own-work.js';
import { installRuntime } from './telemetry.js';
import { connectChecked, problemOf, type ConnectTarget } from '../temporal/connection.js';
import { heardOfVault, startVaultBoard } from './vault-board.js';
import { VaultStore } from '../local/vault-store.js';
import { VaultWatch } from './vault-watch.js';
import { workInterceptor } from './work-interceptor.js';
import { workerIdentity } from '../temporal/worker-identity.js';
import { makeCurrent, replacedText, versioningOptions, workerVersion } from './worker-version.js';

export const roles = ['azure', 'vmm', 'host'] as const;
export type Role = (typeof roles)[number];

export interface WorkerConfig {
  readonly role: Role;
  /** VMM server or host; the vault for `azure`. */
  readonly name: string;
  readonly site: LoadedSite;
  readonly data: DataFolder;
  readonly temporal: ConnectTarget;
  /** Address of its metrics. @default none */
  readonly metrics?: MetricsAddress | undefined;
}

/** Shortest time between two heartbeats, ms: checkpoints travel with them. */
const HEARTBEAT_THROTTLE_MS = 500;
/** Time that running work has to end when the worker is stopped. */
const SHUTDOWN_GRACE = '10 seconds';
/**
 * Far more than the work that runs at the same time: long activities wait for their turn in a slot, so that short ones
 * of other VMs never find all slots taken, which would look like a worker that does not answer.
 */
const ACTIVITY_SLOTS = 1_000;
/** Limits at the recovery site, for all hosts together: more would only compete for the same disks and memory. */
const AZURE_TURNS: TurnLimits = { copies: 4, cycles: 8 };
/**
 * Number of workflows kept in memory, about 0.15 MB each: for each VM its protection and a job, and some without a VM.
 */
const cachedWorkflows = (vms: number): number => 2 * vms + 50;
/**
 * A workflow task goes to the process that has the workflow in memory. If it is not taken within this time, the process
 * is dead, and another one loads the workflow.
 */
const STICKY_TIMEOUT = '3 seconds';

/**
 * Polls until the process is told to stop; then lets running work end.
 * @throws MetricsAddressError, DocumentError for the key file, or TemporalProblem if there is no usable Temporal,
 * before anything is done.
 */
export async function runWorker(config: WorkerConfig, signal: AbortSignal): Promise<void> {
  const { role, name, site, temporal } = config;
  const { address, namespace } = temporal;
  const vault = site.site.vault.name;
  const work = { vault, ...(role === 'host' && { host: name }) };
  const logger = workerLogger(role, name, work);
  const connectionOptions = { ...temporal.connectionOptions, ...directIfLoopback(address), address };
  const keys = await configuredKeys();
  const dataConverter = workerDataConverter(keys);
  const metrics = await installRuntime(logger, config.metrics);
  const endings: (() => Promise<void>)[] = [async () => metrics?.close()];
  try {
    const connection = await connectNatively(temporal, logger).catch(async (error: unknown) => {
      // Without a connection that is eventually closed, it would keep the process alive forever.
      await Runtime.instance().shutdown();
      throw error;
    });
    endings.push(() => connection.close());
    const running = await RunningActivities.open(config.data.runningActivities(`${role}-${name}`));
    endings.push(() => running.close());
    const identity = workerIdentity(role, name, keys?.label(keys.current.id));
    const client = new Client({ connection, namespace, dataConverter });
    const options = await optionsOf(config, client, keys !== undefined);
    const worker = await Worker.create({
      connection,
      namespace,
      dataConverter,
      interceptors: { activity: [running.interceptor, workInterceptor(work), ownWorkOnly(vault)] },
      identity,
      shutdownGraceTime: SHUTDOWN_GRACE,
      maxHeartbeatThrottleInterval: HEARTBEAT_THROTTLE_MS,
      defaultHeartbeatThrottleInterval: HEARTBEAT_THROTTLE_MS,
      ...options,
    });
    const stop = () => worker.shutdown();
    signal.addEventListener('abort', stop, { once: true });
    if (signal.aborted) stop();
    void running.reportLost(connectionOptions, namespace, dataConverter).then(
      (lost) => lost.forEach((workflowId) => logger.warn('An activity of a worker that died was lost', { workflowId })),
      (error: unknown) => logger.warn('The activities of a worker that died are unknown', { error }),
    );
    if (role === 'azure') {
      void startVaultBoard(client, name).catch((error: unknown) =>
        logger.warn('The board of the vault could not be started', { error }),
      );
      const version = options.workerDeploymentOptions?.version;
      void makeCurrent(connectionOptions, namespace, name, version, identity).then(
        (currency) => {
          if (currency === 'current')
            logger.info(`The current version is ${version?.buildId ?? 'that of workers without one'}`);
          if (currency === 'replaced' && version) logger.warn(replacedText(version));
        },
        (error: unknown) => logger.warn('The current worker version could not be set', { error }),
      );
    }
    const info = workerInfo({ role, name, ...work });
    metrics?.tell(() => [info]);
    if (metrics && role === 'azure') {
      const watch = await VaultWatch.start(site.site, client, logger, () =>
        new LocalSite(site.site, config.data).replicaStates(),
      );
      metrics.tell(() => [info, ...watch.measures()]);
      endings.push(() => watch.stop());
    }
    await worker.run();
  } finally {
    for (const end of endings.toReversed()) await end();
  }
}

/** Connects with the client first, which explains failures. @throws TemporalProblem */
async function connectNatively(temporal: ConnectTarget, logger: Logger): Promise<NativeConnection> {
  const checked = await connectChecked(temporal, ({ message }) => logger.warn(message));
  await checked.close();
  const { address, connectionOptions } = temporal;
  return await NativeConnection.connect({ ...connectionOptions, address }).catch(async (error: unknown) => {
    throw await problemOf(error, temporal);
  });
}

async function optionsOf(
  { role, name, site: { site }, data }: WorkerConfig,
  client: Client,
  encrypts: boolean,
): Promise<Pick<WorkerOptions, 'taskQueue'> & Partial<WorkerOptions>> {
  const hypervisorOf = (host: string) => new HypervisorClient(data.hypervisorControl(host));
  switch (role) {
    case 'host': {
      const { bandwidth, concurrentCopies, concurrentCycles } = hostsOf(site).find((host) => host.name === name)!;
      const limiter = bandwidth && new BandwidthLimiter(bandwidthRule(bandwidth));
      const store = await new VaultStore(data, site).open(
        limiter && { onCatalogSent: (bytes) => limiter.spend(bytes) },
      );
      return {
        taskQueue: taskQueues.host(site.vault.name, name),
        activities: createSourceActivities({
          lookEveryMs: lookEveryMs(hostsOf(site).length),
          source: hypervisorOf(name),
          store,
          turns: new Turns({ copies: concurrentCopies, cycles: concurrentCycles }),
          ...(limiter && { sendingStore: (sender) => new LimitedStore(store, limiter, sender) }),
        }),
        maxConcurrentActivityTaskExecutions: ACTIVITY_SLOTS,
      };
    }
    case 'vmm':
      return {
        taskQueue: taskQueues.vmm(site.vault.name, name),
        activities: createSourceFabricActivities({ site, vmmServer: name, hypervisorOf }),
      };
    case 'azure': {
      const store = await new VaultStore(data, site).open();
      const turns = new Turns(AZURE_TURNS);
      const code = await readFile(encrypts ? encryptedWorkflowBundlePath : workflowBundlePath, 'utf8');
      const version = workerVersion(name, code);
      return {
        taskQueue: taskQueues.azure(name),
        workflowBundle: { code },
        ...(version && versioningOptions(version)),
        activities: {
          ...createTargetActivities({
            store,
            compute: new RecoveryComputeClient(data.recoveryControl(), store.disks),
            networks: site.azureNetworks,
            siteVms: site.vms,
            turns,
            ...(site.alerts && { webhook: site.alerts.webhook }),
          }),
          ...createResynchronizationActivities({ store, turns }),
          ...createVaultActivities(() => heardOfVault(client, site, data)),
        },
        maxConcurrentActivityTaskExecutions: ACTIVITY_SLOTS,
        maxCachedWorkflows: cachedWorkflows(site.vms.length),
        stickyQueueScheduleToStartTimeout: STICKY_TIMEOUT,
      };
    }
  }
}

/** Created by the build, so that workers need not bundle when they start. */
export const workflowBundlePath = fileURLToPath(new URL('../workflow-bundle.js', import.meta.url));
/** The same for a site with keys: failures of workflows are encrypted as well. */
export const encryptedWorkflowBundlePath = fileURLToPath(new URL('../workflow-bundle-encrypted.js', import.meta.url));
