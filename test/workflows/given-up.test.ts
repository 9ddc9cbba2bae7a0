/** Jobs that are given up, by whomever: what they undo, what of it is left, and how they are shown. */
import { randomUUID } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import * as messages from '../../workflows/messages.js';
import type { ActivityName, SimulatedSite } from './simulated-site.js';
import { skippedTime } from './skipped-time.js';
import type { TestVault } from './test-vault.js';

const time = skippedTime();
const { setUp } = time;
const request = () => ({ args: [{ requestId: randomUUID() }] as [messages.JobOperationRequest] });
const job = (id: string) => time.env.client.workflow.getHandle(id);

/** A job that can't get beyond an activity, which it tries again. */
async function stuckJob(
  site: SimulatedSite,
  vault: TestVault,
  entity: Awaited<ReturnType<TestVault['startEntity']>>,
  kind: 'plannedFailover' | 'verifyReplica' | 'enableProtection',
  at: ActivityName,
) {
  site.fail(at, 'StoreUnreachable');
  const { jobId } = await entity.executeUpdate(messages.jobUpdates[kind], request());
  await vault.until(entity, ({ item }) => item.job?.retry !== undefined);
  return { entity, jobId, cancel: () => job(jobId).signal(messages.cancelJobSignal, { reason: 'not today' }) };
}

/** A planned failover that can't send the last changes: its source is off. */
const shutDown = async (site: SimulatedSite, vault: TestVault, vm: string) =>
  stuckJob(site, vault, await vault.protect(vm), 'plannedFailover', 'cutAndShip');

describe('what a job undoes', () => {
  it.each([
    {
      kind: 'plannedFailover',
      stuckAt: 'cutAndShip',
      undoneBy: 'startVm',
      task: 'start the source VM again',
      phase: 'Protected',
    },
    {
      kind: 'verifyReplica',
      stuckAt: 'digestForVerification',
      undoneBy: 'mergeSnapshot',
      task: 'merge the VM snapshot',
      phase: 'Protected',
    },
    {
      kind: 'enableProtection',
      stuckAt: 'updateProviderState',
      undoneBy: 'endReplication',
      task: 'stop tracking',
      phase: 'Unprotected',
    },
  ] as const)(
    'climbs the ladder in plain sight, until it is undone: $task',
    async ({ kind, stuckAt, undoneBy, task, phase }) => {
      const { site, vault } = setUp();
      await vault.run(async () => {
        const begun = kind === 'enableProtection' ? vault.startEntity('db-01') : vault.protect('db-01');
        const { entity, jobId, cancel } = await stuckJob(site, vault, await begun, kind, stuckAt);
        const before = site.called(undoneBy).length;
        site.fail(undoneBy, 'HypervisorUnreachable', 4);
        await cancel();
        const seen = await vault.until(entity, (view) => (view.item.job?.retry?.attempt ?? 0) >= 3, 10_000);
        expect(seen.item.job).toMatchObject({ jobId, task });
        expect(seen.health).toBe('Critical');
        site.heal(stuckAt);
        const { item } = await vault.until(entity, (view) => view.item.job === undefined, 60_000);
        expect(item.phase).toBe(phase);
        expect(item.recentJobs.at(-1)).toMatchObject({ id: jobId, outcome: 'cancelled' });
        expect(item.leftovers).toBeUndefined();
        expect(site.called(undoneBy)).toHaveLength(before + 5);
      });
    },
  );

  it('is left to the VM if undoing is given up: Critical until a `retry` has undone it', async () => {
    const { site, vault } = setUp();
    await vault.run(async () => {
      const { entity, jobId, cancel } = await shutDown(site, vault, 'db-01');
      site.fail('startVm', 'InvalidVmState', 2);
      await cancel();
      await vault.until(entity, ({ item }) => item.job?.retry?.failure.code === 'InvalidVmState');
      site.heal('cutAndShip');
      await cancel();
      const left = await vault.until(entity, ({ item }) => item.job === undefined);
      expect(left.conditions.find(({ reason }) => reason === 'LeftUndone')).toMatchObject({
        health: 'Critical',
        message: expect.stringContaining(jobId),
        remedy: expect.stringContaining('farshore retry db-01'),
      });
      // Replication goes on, and does not make it healthy.
      const { nextSequence } = left.item;
      expect((await vault.until(entity, ({ item }) => item.nextSequence > nextSequence, 60_000)).health).toBe(
        'Critical',
      );
      for (const attempts of [2, 3]) {
        expect(await entity.executeUpdate(messages.retryUpdate, request())).toEqual({
          retried: 'start the source VM again',
        });
        await vault.until(entity, () => site.called('startVm').length === attempts);
      }
      expect((await vault.until(entity, ({ item }) => item.leftovers === undefined)).health).not.toBe('Critical');
    });
  });

  it('is reported as left by a job that was closed from outside, until a failover makes it unnecessary', async () => {
    const { site, vault } = setUp();
    await vault.run(async () => {
      const { entity, jobId } = await shutDown(site, vault, 'db-01');
      await job(jobId).terminate('by hand');
      site.heal('cutAndShip');
      const { item, health } = await vault.until(entity, (view) => view.item.job === undefined, 60_000);
      expect(health).toBe('Critical');
      expect(item.leftovers).toMatchObject([{ what: 'startSource', jobId, epoch: 1 }]);
      expect(site.called('startVm')).toEqual([]);
      await entity.executeUpdate(messages.jobUpdates.plannedFailover, request());
      const after = await vault.until(entity, (view) => view.item.phase === 'FailedOver');
      expect(after.item.leftovers).toBeUndefined();
    });
  });
});

describe('in the list of workflows', () => {
  const statusOf = async (id: string) => (await job(id).describe()).status.name;

  it('a cancelled job is shown as cancelled', async () => {
    const { site, vault } = setUp();
    await vault.run(async () => {
      const { jobId, cancel } = await shutDown(site, vault, 'db-01');
      await cancel();
      await job(jobId).cancel();
      await expect(job(jobId).result()).rejects.toThrow();
      expect(await statusOf(jobId)).toBe('CANCELLED');
      expect(await vault.job(jobId)).toMatchObject({ state: 'Cancelled' });
    });
  });

  it('a job that was cancelled too late is shown as it ended', async () => {
    const { site, vault } = setUp();
    await vault.run(async () => {
      const entity = await vault.protect('db-01');
      site.fail('startFailover', 'StoreUnreachable');
      const { jobId } = await entity.executeUpdate(messages.jobUpdates.plannedFailover, request());
      await vault.until(entity, ({ item }) => item.job?.retry !== undefined && item.job.task === 'Start failover');
      await job(jobId).cancel();
      site.heal('startFailover');
      await vault.until(entity, (view) => view.item.phase === 'FailedOver', 60_000);
      expect(await job(jobId).result()).toMatchObject({ state: 'Succeeded' });
      expect(await statusOf(jobId)).toBe('COMPLETED');
    });
  });
});

it('a failover that was taken over from begins no step after the one in progress', async () => {
  const { site, vault } = setUp();
  await vault.run(async () => {
    const entity = await vault.protect('db-01');
    const letGo = site.gate('startFailover');
    const planned = await entity.executeUpdate(messages.jobUpdates.plannedFailover, request());
    await vault.until(entity, () => site.called('startFailover').length === 1);
    const { jobId } = await entity.executeUpdate(messages.jobUpdates.unplannedFailover, request());
    await vault.until(entity, ({ item }) => item.recentJobs.at(-1)?.id === jobId && item.phase === 'FailedOver');
    const started = site.called('startReplicaVm').length;
    letGo();
    await expect(job(planned.jobId).result()).rejects.toThrow();
    expect(await vault.job(planned.jobId)).toMatchObject({ state: 'Cancelled' });
    expect(site.called('startReplicaVm')).toHaveLength(started);
  });
});

describe('a job whose entity is closed ends', () => {
  it('while it copies', async () => {
    const { site, vault } = setUp();
    await vault.run(async () => {
      const entity = await vault.startEntity('db-01');
      const letGo = site.gate('copyDisk');
      await entity.executeUpdate(messages.jobUpdates.enableProtection, request());
      await vault.until(entity, () => site.called('copyDisk').length === 1);
      const { jobId } = (await vault.view('db-01')).item.job!;
      await entity.terminate('by hand');
      letGo();
      await expect(job(jobId).result()).rejects.toMatchObject({ cause: { type: 'EntityClosed' } });
    });
  });

  it('while it waits for an operator', async () => {
    const { site, vault } = setUp();
    await vault.run(async () => {
      const entity = await vault.startEntity('db-02');
      site.fail('copyDisk', 'DiskMissing');
      await entity.executeUpdate(messages.jobUpdates.enableProtection, request());
      const { item } = await vault.until(entity, (view) => view.item.job?.retry !== undefined);
      await entity.terminate('by hand');
      await expect(job(item.job!.jobId).result()).rejects.toMatchObject({ cause: { type: 'EntityClosed' } });
    });
  });
});

it('a VM snapshot that was left behind is merged before a planned failover shuts the VM down', async () => {
  const { site, vault } = setUp();
  await vault.run(async () => {
    const entity = await vault.protect('db-01');
    site.snapshot = 'left';
    const merged = site.called('mergeSnapshot').length;
    await entity.executeUpdate(messages.jobUpdates.plannedFailover, request());
    await vault.until(entity, (view) => view.item.phase === 'FailedOver');
    expect(site.called('mergeSnapshot')).toHaveLength(merged + 1);
    const order = site.calls.map(({ name }) => name);
    expect(order.lastIndexOf('mergeSnapshot')).toBeLessThan(order.indexOf('shutDownVm'));
  });
});
