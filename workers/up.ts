/**
 * `farshore up`: a whole site on one machine, for evaluation. Temporal, a hypervisor per host, the recovery side's
 * compute, and a worker per role, each a process of its own, watched and started again when it dies.
 */
import { mkdir, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { Connection } from '@temporalio/client';
import { taskQueues } from '../domain/ids.js';
import { hostsOf, type Site } from '../domain/site.js';
import { HypervisorClient, RecoveryComputeClient } from '../sites/embedded/control-client.js';
import type { HypervisorConfig } from '../sites/embedded/hypervisor-config.js';
import type { DataFolder, Instance } from './data-folder.js';
import { configuredKeys } from './encryption/data-converter.js';
import { freePorts } from './free-port.js';
import { hostConfig, recoveryConfig } from './hypervisor-configs.js';
import { clearUpAfter } from './left-over-server.js';
import { METRICS_VARIABLE } from './metrics-address.js';
import { moveVmStates } from './moved-vm-state.js';
import { openReplicaStore } from './replica-store.js';
import { findTemporal, temporalOf, type TemporalPlace } from './instance-temporal.js';
import type { LoadedSite } from './site-file.js';
import { ACTIVITIES, pollersOf } from './pollers.js';
import { Supervisor, type ProcessSpec } from './supervisor.js';
import type { Role } from './worker.js';
import { processEnvironment, WORKER_FLAGS } from './process-settings.js';

export interface UpOptions {
  readonly data: DataFolder;
  readonly site: LoadedSite;
  /** Told what is being done. */
  readonly onProgress: (line: string) => void;
  /** Ports on 127.0.0.1; free ones when left out. */
  readonly temporalPort?: number;
  readonly uiPort?: number;
  /** Serves the metrics of each worker at a port of 127.0.0.1, which stays the same while the instance lasts. */
  readonly metrics?: boolean;
}

export interface RunningInstance {
  /** As it is now: a Temporal server of its own that was started again is another process. */
  readonly instance: Instance;
  /** Of a process by its name, `host-<host>` or `temporal` for example, while it runs. */
  processId(name: string): number | undefined;
  stop(): Promise<void>;
}

const READY_TIMEOUT_MS = 60_000;
const READY_POLL_MS = 100;

/**
 * Resolves when everything answers. @throws Error when something can't be had, DocumentError for the key file; nothing is
 * left running then.
 */
export async function startInstance(options: UpOptions): Promise<RunningInstance> {
  const { data, site, onProgress } = options;
  const keys = await configuredKeys();
  const hold = await data.hold();
  const endings: (() => Promise<void>)[] = [() => hold.close()];
  const stop = async () => {
    for (const end of endings.toReversed()) await end();
  };
  try {
    endings.push(() => data.removeInstance());
    await clearUpAfter(data);
    await data.prepare(hostsOf(site.site).map(({ name }) => name));
    await openReplicaStore(site.site.vault.store, { create: true, vault: site.site.vault.name }).then((store) =>
      store.close(),
    );
    let instance: Instance | undefined;
    const onRestart = async (restarted: TemporalPlace) => {
      if (!instance) return;
      instance = { ...instance, temporal: restarted };
      await data.writeInstance(instance);
    };
    const { temporal, target, server, codecEndpoint } = await findTemporal(options, keys, endings, onRestart);
    const supervisor = new Supervisor(onProgress);
    endings.push(() => supervisor.stop());
    // One address of metrics can't be that of several.
    const env = { FARSHORE_SUPERVISED: '1', ...processEnvironment(), [METRICS_VARIABLE]: '' };
    onProgress('Starting the hypervisors');
    await moveVmStates(site.site, data);
    for (const spec of await hypervisorSpecs(site.site, data)) await supervisor.start({ ...spec, env });
    onProgress('Starting the workers');
    const connection = await Connection.connect({ ...target.connectionOptions, address: temporal.address });
    endings.push(() => connection.close());
    const polled = (queue: string) => () => untilPolled(connection, temporal.namespace, queue);
    // The environment that they inherit may name another server, and what belongs to it.
    const where = server ? [temporal.address, temporal.namespace] : [];
    const metrics: Record<string, string> = {};
    const specs = workerSpecs(site, data, where, polled);
    const ports = options.metrics ? await freePorts(specs.length) : [];
    await Promise.all(
      specs.map((spec, index) => {
        const port = ports[index];
        if (port === undefined) return supervisor.start({ ...spec, env });
        metrics[spec.name] = `http://127.0.0.1:${port}/metrics`;
        return supervisor.start({ ...spec, env: { ...env, [METRICS_VARIABLE]: `127.0.0.1:${port}` } });
      }),
    );
    const started: Instance = {
      pid: process.pid,
      siteFile: site.file,
      vault: site.site.vault.name,
      temporal: server ? temporalOf(server.current) : temporal,
      ...(keys && { encryption: { keyFile: keys.file, ...(codecEndpoint !== undefined && { codecEndpoint }) } }),
      startedAt: new Date().toISOString(),
      ...(options.metrics && { metrics }),
    };
    instance = started;
    await data.writeInstance(started);
    return {
      get instance() {
        return instance ?? started;
      },
      stop,
      processId: (name) => (name === 'temporal' ? server?.pid : supervisor.pid(name)),
    };
  } catch (error) {
    await stop();
    throw error;
  }
}

async function hypervisorSpecs(site: Site, data: DataFolder): Promise<Omit<ProcessSpec, 'env'>[]> {
  const specs: Omit<ProcessSpec, 'env'>[] = [];
  for (const { name: host } of hostsOf(site)) {
    const config = hostConfig(site, data, host);
    const client = new HypervisorClient(config.controlSocket);
    specs.push(
      await hypervisorSpec(`hypervisor-${host}`, data, data.hypervisorConfig(host), config, () => client.listVms()),
    );
  }
  const config = recoveryConfig(site, data);
  const compute = new RecoveryComputeClient(config.controlSocket);
  specs.push(await hypervisorSpec('recovery-compute', data, data.recoveryConfig(), config, () => compute.listVms()));
  return specs;
}

async function hypervisorSpec(
  name: string,
  data: DataFolder,
  file: string,
  config: HypervisorConfig,
  ask: () => Promise<unknown>,
): Promise<Omit<ProcessSpec, 'env'>> {
  await mkdir(path.dirname(file), { recursive: true });
  await writeFile(file, JSON.stringify(config, null, 2));
  return {
    name,
    command: process.execPath,
    args: [entry('hypervisor-main'), file],
    logFile: data.log(name),
    ready: () => until(ask, `${name} does not answer; see ${data.log(name)}`),
  };
}

function workerSpecs(
  site: LoadedSite,
  data: DataFolder,
  where: readonly string[],
  polled: (queue: string) => () => Promise<void>,
): Omit<ProcessSpec, 'env'>[] {
  const spec = (role: Role, name: string, queue: string): Omit<ProcessSpec, 'env'> => ({
    name: `${role}-${name}`,
    command: process.execPath,
    args: [...WORKER_FLAGS, entry('worker-main'), role, name, site.file, data.path, ...where],
    logFile: data.log(`${role}-${name}`),
    ready: polled(queue),
  });
  const vault = site.site.vault.name;
  return [
    spec('azure', vault, taskQueues.azure(vault)),
    ...site.site.vmmServers.map(({ name }) => spec('vmm', name, taskQueues.vmm(name))),
    ...hostsOf(site.site).map(({ name }) => spec('host', name, taskQueues.host(name))),
  ];
}

const entry = (name: string): string => fileURLToPath(new URL(`./${name}.js`, import.meta.url));

/** A worker is ready when the server sees somebody poll its queue. */
async function untilPolled(connection: Connection, namespace: string, queue: string): Promise<void> {
  await until(async () => {
    const pollers = await pollersOf(connection.workflowService, namespace, queue, ACTIVITIES);
    if (pollers.length === 0) throw new Error(`nobody polls ${queue}`);
  }, `no worker polls the task queue ${queue}`);
}

async function until(ask: () => Promise<unknown>, problem: string): Promise<void> {
  const deadline = performance.now() + READY_TIMEOUT_MS;
  for (;;) {
    try {
      await ask();
      return;
    } catch (error) {
      if (performance.now() > deadline) throw new Error(problem, { cause: error });
      await sleep(READY_POLL_MS);
    }
  }
}
