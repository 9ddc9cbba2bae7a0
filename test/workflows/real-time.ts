/**
 * What a test file of workflows begins with that needs a real server: one that lets time pass as it does, and a vault on it
 * for each of its tests.
 */
import { TestWorkflowEnvironment } from '@temporalio/testing';
import { afterAll, beforeAll } from 'vitest';
import type { DevServerOptions } from '../../temporal/server/dev-server.js';
import { addSearchAttributes } from '../../temporal/search-attributes.js';
import type { Tuning } from '../../workflows/messages.js';
import { searchAttributeTypes } from '../../workflows/search-attributes.js';
import { startTestDevServer } from '../support/dev-server.js';
import { withEndingRetries } from '../support/ending-retries.js';
import { atProcessEnd } from '../support/process-end.js';
import { quietenRuntime } from '../support/quiet-runtime.js';
import { SimulatedSite } from './simulated-site.js';
import { TestVault } from './test-vault.js';
import { WorkflowWorker } from './workflow-worker.js';

export interface RealTime {
  /** Of the running file. */
  readonly env: TestWorkflowEnvironment;
  readonly setUp: (tuning?: Tuning) => { readonly site: SimulatedSite; readonly vault: TestVault };
}

interface Started {
  readonly env: TestWorkflowEnvironment;
  readonly workflows: WorkflowWorker;
  readonly stop: () => Promise<void>;
}

async function start(options: Pick<DevServerOptions, 'dynamicConfig'>): Promise<Started> {
  quietenRuntime();
  const server = await startTestDevServer(options);
  const { address, namespace } = server;
  const env = await withEndingRetries((plugins) =>
    TestWorkflowEnvironment.createFromExistingServer({ address, namespace, plugins }),
  );
  await addSearchAttributes(env.connection, namespace, searchAttributeTypes);
  const workflows = await WorkflowWorker.start(env);
  const stop = async () => {
    await workflows.stop();
    await env.teardown();
    await server.stop();
  };
  return { env, workflows, stop };
}

let shared: Promise<Started> | undefined;

/** Of this process: starting a server, and loading the workflows, takes longer than most tests. */
const startedOnce = (): Promise<Started> =>
  (shared ??= start({}).then((started) => {
    atProcessEnd(started.stop);
    return started;
  }));

/** @param options of a server of the file's own. @default the one that all files of a process share, as it is in use */
export function realTime(options?: Pick<DevServerOptions, 'dynamicConfig'>): RealTime {
  let current: Started | undefined;
  const vaults: TestVault[] = [];
  beforeAll(async () => {
    current = await (options ? start(options) : startedOnce());
  });
  afterAll(async () => {
    await Promise.all(vaults.map((vault) => vault.abandon()));
    if (options) await current?.stop();
  });
  const started = (): Started => {
    if (!current) throw new Error('no test is running');
    return current;
  };
  return {
    get env() {
      return started().env;
    },
    setUp: (tuning) => {
      const { env, workflows } = started();
      const site = new SimulatedSite();
      const vault = new TestVault(env, site, tuning, undefined, workflows);
      vaults.push(vault);
      return { site, vault };
    },
  };
}
