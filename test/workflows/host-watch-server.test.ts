/**
 * On a real server: the watch lives by how it retries an activity, and by when it gives up on a queue nobody polls. Each test
 * has its own `expect`: what polls belongs to the test that runs just then, and of two at once only one is that.
 */
import { it } from 'vitest';
import { hostWatchId } from '../../domain/ids.js';
import { realTime } from './real-time.js';

const real = realTime();

it.concurrent(
  'a dead agent shows within a minute, and a host that is well costs no events',
  { timeout: 300_000 },
  async ({ expect }) => {
    const { site, vault } = real.setUp();
    site.lookEvery = '5 seconds';
    await vault.run(async () => {
      const entity = await vault.protect('db-01', 200);
      const watch = real.env.client.workflow.getHandle(hostWatchId(vault.vault, vault.host));
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
      const heardBefore = Date.now() - 35_000;
      await vault.stopAgent();
      const diedAt = Date.now();
      const sick = await vault.until(entity, ({ health }) => health !== 'Normal', 500);
      console.log(`noticed after ${Math.round((Date.now() - diedAt) / 1000)} s`);
      expect(sick.conditions[0]).toMatchObject({ reason: 'AgentNotAnswering' });
      // Not when the silence was noticed: its last look, which nothing in the history of the watch tells of.
      const heardAt = Date.parse(sick.item.hostTrouble!.heardAt!);
      expect(heardAt).toBeGreaterThan(heardBefore);
      expect(heardAt).toBeLessThanOrEqual(diedAt);
      expect(Date.parse(sick.item.hostTrouble!.since)).toBeGreaterThanOrEqual(heardAt);
      expect(Date.now() - diedAt).toBeLessThan(120_000);
      await vault.startAgent();
      await vault.until(entity, ({ item }) => item.hostTrouble === undefined, 500);
    });
  },
);

it.concurrent(
  'an agent that takes a look from its queue and does not answer is told as silent',
  { timeout: 120_000 },
  async ({ expect }) => {
    const { site, vault } = real.setUp();
    site.lookEvery = '1 second';
    await vault.run(async () => {
      const entity = await vault.protect('db-02', 200);
      await expect.poll(() => site.called('watchHost').length, { timeout: 30_000 }).toBeGreaterThan(2);
      const hungAt = Date.now();
      site.hang('watchHost');
      const sick = await vault.until(entity, ({ health }) => health !== 'Normal', 500);
      expect(sick.conditions[0]).toMatchObject({ reason: 'AgentNotAnswering' });
      const { heardAt, since } = sick.item.hostTrouble!;
      expect(Date.parse(heardAt!)).toBeLessThanOrEqual(hungAt);
      expect(Date.parse(since)).toBeGreaterThanOrEqual(Date.parse(heardAt!));
    });
  },
);
