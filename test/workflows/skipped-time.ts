/** What a test file of workflows begins with: a server that skips time, and for each of its tests a vault on it. */
import type { TestWorkflowEnvironment } from '@temporalio/testing';
import { afterAll, afterEach, beforeEach } from 'vitest';
import { policySchema, type Policy } from '../../domain/policy.js';
import { searchAttributeTypes } from '../../workflows/search-attributes.js';
import { farWindow } from '../support/far-window.js';
import { createTimeSkippingEnvironment } from '../support/time-skipping.js';
import { SimulatedSite } from './simulated-site.js';
import { TestVault } from './test-vault.js';

export interface SkippedTime {
  /** Of the running test. */
  readonly env: TestWorkflowEnvironment;
  /** @param policy of its VMs. @default the usual values, but that no resynchronization begins by itself */
  readonly setUp: (policy?: Policy) => { readonly site: SimulatedSite; readonly vault: TestVault };
}

/** A server that skips a minute does so at once, and answers. ms */
const SKIPS_WITHIN_MS = 2_000;

/** One server for all tests of a file, as starting it takes longer than most of them. */
export function skippedTime(): SkippedTime {
  let current: TestWorkflowEnvironment | undefined;
  let startedAt = 0;
  const tearDown = async () => {
    await current?.teardown();
    current = undefined;
  };
  beforeEach(async () => {
    current ??= await createTimeSkippingEnvironment({ searchAttributes: searchAttributeTypes });
    startedAt = await current.currentTimeMs();
  });
  // One that saw a workflow terminated in the middle of a task may skip no more time.
  afterEach(async () => {
    if (current && !(await skips(current))) await tearDown();
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
      return { site, vault: new TestVault(of, site, undefined, policy) };
    },
  };
}

async function skips(env: TestWorkflowEnvironment): Promise<boolean> {
  return await env.connection
    .withDeadline(Date.now() + SKIPS_WITHIN_MS, () => env.sleep(60_000))
    .then(
      () => true,
      () => false,
    );
}
