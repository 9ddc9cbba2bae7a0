import { randomUUID } from 'node:crypto';
import { expect, it } from 'vitest';
import { hostWatchId, taskQueues } from '../../domain/ids.js';
import * as messages from '../../workflows/messages.js';
import { skippedTime } from './skipped-time.js';

const time = skippedTime();

const setUp = () => {
  const { site, vault } = time.setUp();
  return { site, vault, other: `other-${vault.vault}` };
};
const request = () => ({ args: [{ requestId: randomUUID() }] as [messages.OperationRequest] });
const runs = async (workflowId: string) =>
  (await time.env.client.workflow.getHandle(workflowId).describe()).status.name === 'RUNNING';

it(
  'a VM that has moved is found by its cycle, which goes on there, and its watch with it',
  { timeout: 180_000 },
  async () => {
    const { site, vault, other } = setUp();
    await vault.run(async () => {
      await vault.startAgent(other);
      const entity = await vault.protect('db-01');
      const { item: before } = await vault.until(entity, ({ item }) => item.applied?.sequence === 2, 20_000);
      site.moved.set('db-01', { host: other, tracking: { epoch: before.epoch } });
      site.fail('cutAndShip', 'VmNotFound', 1);
      const { item } = await vault.until(entity, (view) => (view.item.applied?.sequence ?? 0) >= 3, 20_000);
      expect(item).toMatchObject({ host: other, epoch: before.epoch, phase: 'Protected' });
      expect(item.resync ?? item.retry).toBeUndefined();
      expect(site.called('cutAndShip').at(-1)!.queue).toBe(taskQueues.host(vault.vault, other));
      await expect.poll(() => runs(hostWatchId(vault.vault, other))).toBe(true);
      await expect.poll(() => runs(hostWatchId(vault.vault, vault.host))).toBe(false);
      // Its first host again, as when the other one is lost.
      site.moved.set('db-01', { host: vault.host, tracking: { epoch: before.epoch } });
      site.fail('cutAndShip', 'AgentNotAnswering', 1);
      await vault.until(entity, (view) => view.item.host === vault.host, 20_000);
      await vault.until(entity, (view) => (view.item.applied?.sequence ?? 0) > item.applied!.sequence, 20_000);
    });
  },
);

it('a VM that is tracked there in another epoch, or not at all, is marked', { timeout: 180_000 }, async () => {
  const { site, vault, other } = setUp();
  await vault.run(async () => {
    await vault.startAgent(other);
    const entity = await vault.protect('db-02');
    site.moved.set('db-02', { host: other });
    site.fail('cutAndShip', 'HypervisorUnreachable', 1);
    const { item, health } = await vault.until(entity, (view) => view.item.resync !== undefined, 20_000);
    expect(item.resync?.cause).toBe(`the VM was moved to host ${other}, which did not track its changes`);
    expect(health).toBe('Critical');
    const { jobId } = await entity.executeUpdate(messages.resynchronizeUpdate, {
      args: [{ requestId: randomUUID(), now: true }],
    });
    await vault.until(entity, (view) => view.item.recentJobs.at(-1)?.id === jobId);
    expect(site.called('beginReplication').at(-1)!.queue).toBe(taskQueues.host(vault.vault, other));
  });
});

it(
  'one that no host has waits, and is found when asked for again, by cycles and by jobs',
  { timeout: 180_000 },
  async () => {
    const { site, vault, other } = setUp();
    await vault.run(async () => {
      await vault.startAgent(other);
      const entity = await vault.protect('db-03');
      const { item: before } = await vault.until(entity, ({ item }) => item.applied?.sequence === 2, 20_000);
      site.moved.set('db-03', undefined);
      site.fail('cutAndShip', 'VmNotFound', 2);
      const { health, conditions } = await vault.until(entity, (view) => view.item.retry !== undefined, 20_000);
      expect(health).toBe('Critical');
      expect(conditions[0]).toMatchObject({ reason: 'VmNotFound', message: expect.stringContaining('waits for') });
      site.moved.set('db-03', { host: other, tracking: { epoch: before.epoch } });
      await entity.executeUpdate(messages.retryUpdate, request());
      await vault.until(entity, ({ item }) => item.host === other && item.retry === undefined);

      site.moved.set('db-03', undefined);
      site.fail('checkSource', 'VmNotFound', 2);
      const { jobId } = await entity.executeUpdate(messages.jobUpdates.verifyReplica, request());
      await vault.until(entity, ({ item }) => item.job?.retry !== undefined);
      site.moved.set('db-03', { host: vault.host, tracking: { epoch: before.epoch } });
      await entity.executeUpdate(messages.retryUpdate, request());
      const { item } = await vault.until(entity, (view) => view.item.recentJobs.at(-1)?.id === jobId);
      expect(item.recentJobs.at(-1)?.outcome).toBe('succeeded');
      expect(item.host).toBe(vault.host);
      expect(site.called('compareDisk').at(-1)!.queue).toBe(taskQueues.host(vault.vault, vault.host));
    });
  },
);
