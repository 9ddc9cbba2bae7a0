/** On a real server: the watch lives by how it retries an activity, and by when it gives up on a queue nobody polls. */
import { TestWorkflowEnvironment } from '@temporalio/testing';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { hostWatchId } from '../../domain/ids.js';
import { addSearchAttributes } from '../../workers/search-attributes.js';
import type { DevServer } from '../../workers/temporal-server.js';
import { searchAttributeTypes } from '../../workflows/search-attributes.js';
import { startTestDevServer } from '../support/dev-server.js';
import { withEndingRetries } from '../support/ending-retries.js';
import { quietenRuntime } from '../support/quiet-runtime.js';
import { SimulatedSite } from './simulated-site.js';
import { TestVault } from './test-vault.js';

let server: DevServer;
let env: TestWorkflowEnvironment;
beforeAll(async () => {
  quietenRuntime();
  server = await startTestDevServer();
  const { address, namespace } = server;
  env = await withEndingRetries((plugins) =>
    TestWorkflowEnvironment.createFromExistingServer({ address, namespace, plugins }),
  );
  await addSearchAttributes(env.connection, namespace, searchAttributeTypes);
});
afterAll(async () => {
  await env?.teardown();
  await server?.stop();
});

it('a dead agent shows within two minutes, and a host that is well costs no events', { timeout: 300_000 }, async () => {
  const site = new SimulatedSite();
  site.lookEvery = '5 seconds';
  const vault = new TestVault(env, site);
  await vault.run(async () => {
    const entity = await vault.protect('db-01', 200);
    const watch = env.client.workflow.getHandle(hostWatchId(vault.vault, vault.host));
    const events = async () => (await watch.fetchHistory()).events!.length;
    await expect.poll(() => site.called('watchHost').length, { timeout: 30_000 }).toBeGreaterThan(2);
    const before = await events();
    const looks = site.called('watchHost').length;
    await expect.poll(() => site.called('watchHost').length, { timeout: 60_000 }).toBeGreaterThan(looks + 2);
    expect(await events()).toBe(before);
    // Its next look is due by now as late as in production.
    site.lookEvery = '30 seconds';
    const last = site.called('watchHost').length;
    await expect.poll(() => site.called('watchHost').length, { timeout: 60_000 }).toBeGreaterThan(last);
    await vault.stopAgent();
    const diedAt = Date.now();
    const sick = await vault.until(entity, ({ health }) => health !== 'Normal', 500);
    console.log(`noticed after ${Math.round((Date.now() - diedAt) / 1000)} s`);
    expect(sick.conditions[0]).toMatchObject({ reason: 'AgentNotAnswering' });
    expect(Date.now() - diedAt).toBeLessThan(120_000);
    await vault.startAgent();
    await vault.until(entity, ({ item }) => item.hostTrouble === undefined, 500);
  });
});
