/** What a test file of workflows begins with: for each of its tests a server that skips time, and a vault on it. */
import type { TestWorkflowEnvironment } from '@temporalio/testing';
import { afterEach, beforeEach } from 'vitest';
import type { Policy } from '../../domain/policy.js';
import { searchAttributeTypes } from '../../workflows/search-attributes.js';
import { createTimeSkippingEnvironment } from '../support/time-skipping.js';
import { SimulatedSite } from './simulated-site.js';
import { TestVault } from './test-vault.js';

export interface SkippedTime {
  /** Of the running test. */
  readonly env: TestWorkflowEnvironment;
  /** @param policy of its VMs. @default one with the usual values */
  readonly setUp: (policy?: Policy) => { readonly site: SimulatedSite; readonly vault: TestVault };
}

/** A server for each test: one that saw a workflow terminated in the middle of a task may skip no more time. */
export function skippedTime(): SkippedTime {
  let env: TestWorkflowEnvironment;
  beforeEach(async () => {
    env = await createTimeSkippingEnvironment({ searchAttributes: searchAttributeTypes });
  });
  afterEach(() => env.teardown());
  return {
    get env() {
      return env;
    },
    setUp: (policy) => {
      const site = new SimulatedSite(() => env.currentTimeMs());
      return { site, vault: new TestVault(env, site, undefined, policy) };
    },
  };
}
