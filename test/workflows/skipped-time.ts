/**
 * What a test file of workflows begins with: a server that skips time, and for each of its tests a vault on it. All files of
 * a process share the server, and one worker that has the workflows: starting them takes longer than most tests.
 */
import type { TestWorkflowEnvironment } from '@temporalio/testing';
import { afterEach, beforeEach } from 'vitest';
import { policySchema, type Policy } from '../../domain/policy.js';
import type { Tuning } from '../../workflows/messages.js';
import { searchAttributeTypes } from '../../workflows/search-attributes.js';
import { farWindow } from '../support/far-window.js';
import { skipsAgain } from '../support/left-locks.js';
import { atProcessEnd } from '../support/process-end.js';
import { createTimeSkippingEnvironment } from '../support/time-skipping.js';
import { SimulatedSite } from './simulated-site.js';
import { TestVault } from './test-vault.js';
import { WorkflowWorker } from './workflow-worker.js';

export interface SkippedTime {
  /** Of the running test. */
  readonly env: TestWorkflowEnvironment;
  /**
   * @param policy of its VMs. @default the usual values, but that no resynchronization begins by itself
   * @param tuning of its workflows.
   * @param worker runs its workflows. @default the one that all share
   */
  readonly setUp: (
    policy?: Policy,
    tuning?: Tuning,
    worker?: WorkflowWorker,
  ) => { readonly site: SimulatedSite; readonly vault: TestVault };
}

let current: TestWorkflowEnvironment | undefined;
let workflows: WorkflowWorker | undefined;
let isToEnd = false;

async function start(): Promise<TestWorkflowEnvironment> {
  if (!isToEnd) atProcessEnd(tearDown);
  isToEnd = true;
  current ??= await createTimeSkippingEnvironment({ searchAttributes: searchAttributeTypes });
  workflows ??= await WorkflowWorker.start(current);
  return current;
}

async function tearDown(): Promise<void> {
  await workflows?.stop();
  workflows = undefined;
  await current?.teardown();
  current = undefined;
}

export function skippedTime(): SkippedTime {
  let startedAt = 0;
  let vaults: TestVault[] = [];
  beforeEach(async () => {
    startedAt = await (await start()).currentTimeMs();
  });
  afterEach(async () => {
    await Promise.all(vaults.map((vault) => vault.abandon()));
    vaults = [];
    if (current && !(await skipsAgain(current))) await tearDown();
  });
  const env = (): TestWorkflowEnvironment => {
    if (!current) throw new Error('no test is running');
    return current;
  };
  return {
    get env() {
      return env();
    },
    setUp: (
      policy = policySchema.parse({ name: 'test', resynchronizationWindow: farWindow(startedAt) }),
      tuning,
      worker = workflows,
    ) => {
      const of = env();
      const site = new SimulatedSite(() => of.currentTimeMs());
      const vault = new TestVault(of, site, tuning, policy, worker);
      vaults.push(vault);
      return { site, vault };
    },
  };
}
