import { randomUUID } from 'node:crypto';
import { expect, it } from 'vitest';
import { hostWatchId } from '../../domain/ids.js';
import * as messages from '../../workflows/messages.js';
import { skippedTime } from './skipped-time.js';

const time = skippedTime();

const setUp = () => {
  const { site, vault } = time.setUp();
  site.lookEvery = '30 seconds';
  return { site, vault };
};
const eventsOf = async (workflowId: string) =>
  (await time.env.client.workflow.getHandle(workflowId).fetchHistory()).events!.length;

it('a healthy host adds no events to the history, however long it is watched', { timeout: 180_000 }, async () => {
  const { site, vault } = setUp();
  await vault.run(async () => {
    await vault.protect('db-02');
    const id = hostWatchId(vault.vault, vault.host);
    const before = await eventsOf(id);
    const looks = site.called('watchHost').length;
    await vault.pass(15);
    expect(site.called('watchHost').length).toBeGreaterThan(looks + 25);
    expect(await eventsOf(id)).toBe(before);
  });
});

it(
  'a VM whose tracking has stopped by itself shows before its next cycle, paused or not',
  { timeout: 180_000 },
  async () => {
    const { site, vault } = setUp();
    await vault.run(async () => {
      const entity = await vault.protect('db-03');
      await entity.executeUpdate(messages.pauseUpdate, { args: [{ requestId: randomUUID() }] });
      site.host = { stopped: { 'db-03': { epoch: 1, cause: 'the logs have reached 50 %' } } };
      const { item, health } = await vault.until(entity, (view) => view.item.resync !== undefined, 5_000);
      expect(item.resync?.cause).toContain('the logs have reached 50 %');
      expect(health).toBe('Critical');
    });
  },
);

it('one watch serves all VMs of a host, and ends with the last of them', { timeout: 180_000 }, async () => {
  const { site, vault } = setUp();
  await vault.run(async () => {
    const first = await vault.protect('db-04');
    const second = await vault.protect('db-05');
    const failure = { code: 'HypervisorUnreachable', class: 'recoverable', message: 'm', remedy: 'r' } as const;
    site.host = { failure, stopped: {} };
    for (const entity of [first, second]) {
      await vault.until(entity, ({ conditions }) => conditions[0]?.reason === 'HypervisorUnreachable', 5_000);
    }
    site.host = { stopped: {} };
    const watch = time.env.client.workflow.getHandle(hostWatchId(vault.vault, vault.host));
    for (const entity of [first, second]) {
      expect((await watch.describe()).status.name).toBe('RUNNING');
      await entity.executeUpdate(messages.jobUpdates.disableProtection, { args: [{ requestId: randomUUID() }] });
      await entity.result();
    }
    await watch.result();
    // And begins anew.
    await vault.protect('db-04');
    await expect.poll(async () => (await watch.describe()).status.name).toBe('RUNNING');
  });
});
