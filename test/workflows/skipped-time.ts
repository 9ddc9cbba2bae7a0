/** What a test file of workflows begins with: a server that skips time, and for each of its tests a vault on it. */
import { setTimeout } from 'node:timers/promises';
import type { TestWorkflowEnvironment } from '@temporalio/testing';
import { afterAll, afterEach, beforeEach } from 'vitest';
import { policySchema, type Policy } from '../../domain/policy.js';
import { searchAttributeTypes } from '../../workflows/search-attributes.js';
import { farWindow } from '../support/far-window.js';
import { createTimeSkippingEnvironment } from '../support/time-skipping.js';
import { SimulatedSite } from './simulated-site.js';
import { TestVault } from './test-vault.js';
import { WorkflowWorker } from './workflow-worker.js';

export interface SkippedTime {
  /** Of the running test. */
  readonly env: TestWorkflowEnvironment;
  /** @param policy of its VMs. @default the usual values, but that no resynchronization begins by itself */
  readonly setUp: (policy?: Policy) => { readonly site: SimulatedSite; readonly vault: TestVault };
}

/** A server that skips a minute does so at once, and answers. ms */
const SKIPS_WITHIN_MS = 2_000;

/**
 * One server, and one worker that has the workflows, for all tests of a file: starting them takes longer than most tests.
 * @param options.serverPerTest for tests after which the server hardly ever skips time any more. @default false
 */
export function skippedTime({ serverPerTest = false } = {}): SkippedTime {
  let current: TestWorkflowEnvironment | undefined;
  let workflows: WorkflowWorker | undefined;
  let startedAt = 0;
  let vaults: TestVault[] = [];
  const tearDown = async () => {
    await workflows?.stop();
    workflows = undefined;
    await current?.teardown();
    current = undefined;
  };
  beforeEach(async () => {
    current ??= await createTimeSkippingEnvironment({ searchAttributes: searchAttributeTypes });
    workflows ??= await WorkflowWorker.start(current);
    startedAt = await current.currentTimeMs();
  });
  // One that saw a workflow terminated in the middle of a task may skip no more time.
  afterEach(async () => {
    await Promise.all(vaults.map((vault) => vault.abandon()));
    vaults = [];
    if (current && (serverPerTest || !(await skips(current)))) await tearDown();
  });
  afterAll(tearDown);
  const env = (): TestWorkflowEnvironment => {
    if (!current) throw new Error('no test is running');
    return current;
  };
  return {
    get env() {
      return env();
    },
    setUp: (policy = policySchema.parse({ name: 'test', resynchronizationWindow: farWindow(startedAt) })) => {
      const of = env();
      const site = new SimulatedSite(() => of.currentTimeMs());
      const vault = new TestVault(of, site, undefined, policy, workflows);
      vaults.push(vault);
      return { site, vault };
    },
  };
}

async function skips(env: TestWorkflowEnvironment): Promise<boolean> {
  const slept = env.connection
    .withDeadline(Date.now() + SKIPS_WITHIN_MS, () => env.sleep(60_000))
    .then(
      () => true,
      () => false,
    );
  // The sleep of a test that has timed out may never end: this one would never begin.
  return Promise.race([slept, setTimeout(SKIPS_WITHIN_MS, false)]);
}
