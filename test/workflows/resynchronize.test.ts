import { randomUUID } from 'node:crypto';
import { beforeEach, describe, expect, it } from 'vitest';
import { policySchema } from '../../domain/policy.js';
import * as messages from '../../workflows/messages.js';
import { farWindow } from '../support/far-window.js';
import type { SimulatedSite } from './simulated-site.js';
import { skippedTime } from './skipped-time.js';
import type { TestVault } from './test-vault.js';

const time = skippedTime();
let site: SimulatedSite;
let vault: TestVault;
beforeEach(() => {
  ({ site, vault } = time.setUp());
});

const resynchronize = (now: boolean) => ({
  args: [{ requestId: randomUUID(), now }] as [messages.ResynchronizeRequest],
});
describe('a VM that is marked for resynchronization', () => {
  it('is resynchronized in the window of its policy, and continues with cycles of a new epoch', async () => {
    const window = farWindow(await time.env.currentTimeMs());
    const { site, vault } = time.setUp(policySchema.parse({ name: 'test', resynchronizationWindow: window }));
    const isInWindow = (at: number) => {
      const clock = new Date(at).toISOString().slice(11, 16);
      const isBetween = window.from <= clock && clock < window.to;
      const isOutside = window.to <= clock && clock < window.from;
      return window.from < window.to ? isBetween : !isOutside;
    };
    await vault.run(async () => {
      const entity = await vault.protect('db-01');
      site.fail('cutAndShip', 'LogBroken', 1);
      const marked = await vault.until(entity, ({ item }) => item.resync?.dueAt !== undefined, 60_000);
      const { epoch, resync } = marked.item;
      expect(isInWindow(Date.parse(resync!.dueAt!))).toBe(true);
      await vault.until(entity, ({ item }) => item.resync === undefined, 300_000);
      expect(site.called('beginResync')).toHaveLength(1);
      expect(isInWindow(site.called('beginResync')[0]!.at)).toBe(true);
      const after = await vault.until(entity, ({ item }) => (item.applied?.sequence ?? 0) >= 2, 60_000);
      expect(after.item).toMatchObject({ phase: 'Protected', epoch: epoch + 1 });
      const sequences = site.called('cutAndShip').filter(({ input }) => input['epoch'] === epoch + 1);
      expect(sequences.map(({ input }) => input['sequence']).slice(0, 2)).toEqual([1, 2]);
    });
  });

  it('is resynchronized if the manifest of a cycle that was sent is lost, because its logs are gone, too', async () => {
    await vault.run(async () => {
      const entity = await vault.protect('db-05');
      site.fail('applyCycle', 'LogBroken', 1);
      const marked = await vault.until(entity, ({ item }) => item.resync !== undefined, 60_000);
      expect(marked).toMatchObject({ health: 'Critical', item: { phase: 'Protected' } });
      expect(marked.item).not.toHaveProperty('retry');
    });
  });

  it('on request is resynchronized immediately; the disks are digested before anything is sent', async () => {
    await vault.run(async () => {
      const entity = await vault.protect('db-02');
      const { jobId } = await entity.executeUpdate(messages.resynchronizeUpdate, resynchronize(true));
      await vault.until(entity, ({ item }) => item.recentJobs.at(-1)?.id === jobId);
      const order = [
        'applyReceivedCycles',
        'identifyTarget',
        'beginResync',
        'beginReplication',
        'digestReplica',
        'copyDisk',
      ];
      const last = order.map((name) => site.calls.findLastIndex((call) => call.name === name));
      expect(last).toEqual(last.toSorted((a, b) => a - b));
      const job = await vault.job(jobId!);
      expect(job).toMatchObject({ state: 'Succeeded', result: { bytesSent: 2000, digestBytes: 512 } });
      // Ahead of what is compared, and never behind: what has no digests would be sent whole.
      const stretches = (name: 'digestReplica' | 'copyDisk') =>
        site
          .called(name)
          .filter(({ input }) => input['disk'] === 'os' && input['epoch'] === 2)
          .map(({ input }) => [input['fromOffset'], input['toOffset']]);
      expect(stretches('digestReplica').map(([from]) => from)).toEqual([0, 250, 500, 750]);
      expect(stretches('copyDisk')).toEqual([0, 250, 500, 750].map((from) => [from, from + 250]));
      for (const { input } of site.called('copyDisk')) expect(input).toHaveProperty('retention.hours');
    });
  });

  it('if its resynchronization is cancelled, waits for the next window and stays marked', async () => {
    await vault.run(async () => {
      const entity = await vault.protect('db-03');
      await entity.executeUpdate(messages.resynchronizeUpdate, resynchronize(false));
      site.fail('digestReplica', 'InvalidReplicaState');
      const { jobId } = await entity.executeUpdate(messages.resynchronizeUpdate, resynchronize(true));
      await vault.until(entity, ({ item }) => item.job?.retry !== undefined);
      await time.env.client.workflow.getHandle(jobId!).signal(messages.cancelJobSignal, { reason: 'test' });
      const { item, health } = await vault.until(entity, (view) => view.item.job === undefined);
      expect(health).toBe('Critical');
      expect(item.resync?.cause).toMatch(/operator requested/);
      const scheduled = await vault.until(entity, (view) => view.item.resync?.dueAt !== undefined);
      const now = await time.env.currentTimeMs();
      expect(Date.parse(scheduled.item.resync!.dueAt!)).toBeGreaterThan(now);
    });
  });

  it('is not resynchronized endlessly if each attempt fails', async () => {
    const policy = policySchema.parse({ name: 'test', resynchronizationWindow: 'always' });
    const { site, vault: always } = time.setUp(policy);
    await always.run(async () => {
      const entity = await always.protect('db-06');
      await always.until(entity, ({ item }) => item.applied?.sequence === 2);
      site.fail('cutAndShip', 'LogBroken');
      await always.pass(70);
      const begun = site.called('beginResync').map(({ at }) => at);
      expect(begun.length).toBeGreaterThanOrEqual(2);
      const gaps = begun.slice(1).map((at, index) => at - begun[index]!);
      for (const gap of gaps) expect(gap).toBeGreaterThanOrEqual(30 * 60_000);
      site.heal('cutAndShip');
      await always.until(entity, ({ item }) => item.resync === undefined, 60_000);
    });
  });

  it('allows no planned failover meanwhile; an unplanned one cancels its resynchronization', async () => {
    await vault.run(async () => {
      const entity = await vault.protect('db-05');
      site.fail('copyDisk', 'StoreUnreachable');
      const { jobId } = await entity.executeUpdate(messages.resynchronizeUpdate, resynchronize(true));
      await vault.until(entity, ({ item }) => item.job?.retry !== undefined);
      const request = { args: [{ requestId: randomUUID() }] as [messages.JobOperationRequest] };
      await expect(entity.executeUpdate(messages.jobUpdates.plannedFailover, request)).rejects.toMatchObject({
        cause: { message: expect.stringMatching(/resynchroniz/i) },
      });
      await entity.executeUpdate(messages.jobUpdates.unplannedFailover, request);
      const { item } = await vault.until(entity, (view) => view.item.phase === 'FailedOver');
      expect(item.resync).toBeUndefined();
      expect(await vault.job(jobId!)).toMatchObject({ state: 'Cancelled' });
    });
  });

  it('is marked again if tracking breaks meanwhile', async () => {
    await vault.run(async () => {
      const entity = await vault.protect('db-04');
      await vault.until(entity, ({ item }) => item.applied?.sequence === 2);
      site.fail('cutAndShip', 'ResyncRequired', 1);
      const { jobId } = await entity.executeUpdate(messages.resynchronizeUpdate, resynchronize(true));
      const marked = await vault.until(entity, ({ item }) => item.recentJobs.at(-1)?.id === jobId);
      expect(marked.item.recentJobs.at(-1)).toMatchObject({ outcome: 'failed', failure: { code: 'ResyncRequired' } });
      expect(marked.item.resync).toBeDefined();
      expect(marked.operations.plannedFailover).toMatchObject({ allowed: false });
    });
  });
});
