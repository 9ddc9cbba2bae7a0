/**
 * `farshore up`: a whole site on one machine, for evaluation. Temporal, a hypervisor for each host, the recovery
 * compute, and a worker for each role run as separate processes, which are restarted when they die.
 */
import { mkdir, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import type { Connection } from '@temporalio/client';
import { taskQueues } from '../domain/ids.js';
import type { HeldReplica } from '../domain/held-replica.js';
import { hostsOf, type Site } from '../domain/site.js';
import { HypervisorClient, RecoveryComputeClient } from '../sites/hypervisor/control-client.js';
import type { HypervisorConfig } from '../sites/hypervisor/hypervisor-config.js';
import type { DataFolder, Instance } from '../config/data-folder.js';
import { configuredKeys } from '../temporal/encryption/data-converter.js';
import { fenceSources } from './fenced-sources.js';
import { freePorts } from '../temporal/server/free-port.js';
import { hostConfig, recoveryConfig } from './hypervisor-configs.js';
import { clearUpAfter } from './left-over-server.js';
import { readHeldReplicas } from '../local/local-vault.js';
import { METRICS_VARIABLE } from '../workers/metrics-address.js';
import { moveVmStates } from './moved-vm-state.js';
import { findTemporal, temporalOf, type TemporalPlace } from './instance-temporal.js';
import type { LoadedSite } from '../config/site-file.js';
import { ACTIVITIES, pollersOf } from '../temporal/pollers.js';
import { runningProtections } from '../temporal/running-protections.js';
import { Supervisor, type ProcessSpec } from './supervisor.js';
import { connectTemporal } from '../temporal/connection.js';
import { VaultStore } from '../local/vault-store.js';
import type { Role } from '../workers/worker.js';
import { processEnvironment, WORKER_FLAGS } from './process-settings.js';

export interface UpOptions {
  readonly data: DataFolder;
  readonly site: LoadedSite;
  /** Called with a description of each step. */
  readonly onProgress: (line: string) => void;
  /** Ports on 127.0.0.1; free ones if left out. */
  readonly temporalPort?: number;
  readonly uiPort?: number;
  /** Uses the existing store, or creates one, although the vault is known to have another. */
  readonly newStore?: boolean;
  /** Serves the metrics of each worker on a port of 127.0.0.1 that stays the same for the lifetime of the instance. */
  readonly metrics?: boolean;
}

export interface RunningInstance {
  /** Current description of the instance: after a restart, its own Temporal server is another process. */
  readonly instance: Instance;
  /** Id of a running process by its name, for example `host-<host>` or `temporal`. */
  processId(name: string): number | undefined;
  stop(): Promise<void>;
}

const READY_TIMEOUT_MS = 60_000;
const READY_POLL_MS = 100;
const FENCED_WITHIN_MS = 5_000;

/**
 * Resolves when everything answers. @throws Error if something is unavailable; DocumentError for the key file. Nothing
 * is left running then.
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
    const store = new VaultStore(data, site.site);
    const hasStore = !options.newStore && (await store.isThere());
    let instance: Instance | undefined;
    const onRestart = async (restarted: TemporalPlace) => {
      if (!instance) return;
      instance = { ...instance, temporal: restarted };
      await data.writeInstance(instance);
    };
    const { temporal, target, server, codecEndpoint } = await findTemporal(options, keys, endings, onRestart);
    const connection = await connectTemporal({ ...target, address: temporal.address });
    endings.push(() => connection.close());
    if (!hasStore) {
      const { name } = site.site.vault;
      await store.make(options.newStore ? [] : await runningProtections(connection, temporal.namespace, name));
    }
    const supervisor = new Supervisor(onProgress);
    endings.push(() => supervisor.stop());
    // Several workers cannot share one metrics address.
    const env = { FARSHORE_SUPERVISED: '1', ...processEnvironment(), [METRICS_VARIABLE]: '' };
    onProgress('Starting the hypervisors');
    await moveVmStates(site.site, data);
    const fenceSourcesOf = async (vms: Site['vms'], held: readonly HeldReplica[]) => {
      const fenced = await fenceSources({ vms }, data, held);
      if (fenced.length > 0) {
        onProgress(
          `Not started at the primary site, as they run at the recovery site according to the vault: ${fenced.join(', ')}`,
        );
      }
    };
    await fenceSourcesOf(site.site.vms, await readHeldReplicas(site.site.vault, []));
    for (const spec of await hypervisorSpecs(site.site, data, fenceSourcesOf)) await supervisor.start({ ...spec, env });
    onProgress('Starting the workers');
    const polled = (queue: string) => () => untilPolled(connection, temporal.namespace, queue);
    // The inherited environment may name another server and its settings.
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

/**
 * @param fenceSourcesOf is called before a hypervisor is restarted: its VMs may have been failed over while it was
 * dead.
 */
async function hypervisorSpecs(
  site: Site,
  data: DataFolder,
  fenceSourcesOf: (vms: Site['vms'], held: readonly HeldReplica[]) => Promise<void>,
): Promise<Omit<ProcessSpec, 'env'>[]> {
  const specs: Omit<ProcessSpec, 'env'>[] = [];
  for (const { name: host } of hostsOf(site)) {
    const config = hostConfig(site, data, host);
    const client = new HypervisorClient(config.controlSocket);
    const spec = await hypervisorSpec(`hypervisor-${host}`, data, data.hypervisorConfig(host), config, () =>
      client.listVms(),
    );
    const vms = site.vms.filter((vm) => vm.host === host);
    const beforeRestart = async () => {
      // A host does not wait for a store that hangs, and an answer that arrives late must not be used for a running
      // hypervisor.
      const held = await Promise.race([
        readHeldReplicas(site.vault, []),
        sleep(FENCED_WITHIN_MS, undefined, { ref: false }),
      ]);
      if (!held) throw new Error('the store did not report in time which VMs were failed over');
      await fenceSourcesOf(vms, held);
    };
    specs.push({ ...spec, beforeRestart });
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
    args: [entry('instance/hypervisor-main'), file],
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
    args: [...WORKER_FLAGS, entry('workers/worker-main'), role, name, site.file, data.path, ...where],
    logFile: data.log(`${role}-${name}`),
    ready: polled(queue),
  });
  const vault = site.site.vault.name;
  return [
    spec('azure', vault, taskQueues.azure(vault)),
    ...site.site.vmmServers.map(({ name }) => spec('vmm', name, taskQueues.vmm(vault, name))),
    ...hostsOf(site.site).map(({ name }) => spec('host', name, taskQueues.host(vault, name))),
  ];
}

const entry = (name: string): string => fileURLToPath(new URL(`../${name}.js`, import.meta.url));

/** A worker is ready when the server has seen it poll its queue. */
async function untilPolled(connection: Connection, namespace: string, queue: string): Promise<void> {
  await until(async () => {
    const pollers = await pollersOf(connection.workflowService, namespace, queue, ACTIVITIES);
    if (pollers.length === 0) throw new Error(`no worker polls ${queue}`);
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
