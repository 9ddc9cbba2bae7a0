import { randomUUID } from 'node:crypto';
import { historyToJSON } from '@temporalio/common/lib/proto-utils.js';
import { describe, expect, it } from 'vitest';
import { hostWatchId, taskQueues } from '../../domain/ids.js';
import { failoverResultSchema } from '../../domain/job.js';
import { initialReplication } from '../../domain/jobs/initial-replication.js';
import * as messages from '../../workflows/messages.js';
import { searchAttributes } from '../../workflows/search-attributes.js';
import { replay } from '../replay/replayed.js';
import { skippedTime } from './skipped-time.js';
import { workflowBundle } from './workflow-worker.js';

const time = skippedTime();

/**
 * A timer (2), the sending (3), a task after each (6), the applying in the latter (1) and the memo (1). The timer that looks
 * whether cycles are overdue ends when one is due, and takes the place of that one's.
 */
const EVENTS_PER_CYCLE = 13;
/** The end of its timer, and its task. */
const EVENTS_OF_DUE_CYCLE = 4;
/** On a machine that is so busy that it takes seconds to apply one: from the queue (3), with a task (3), shown before (1). */
const EVENTS_OF_SLOW_CYCLE = 7;

const { setUp } = time;
const request = () => ({ args: [{ requestId: randomUUID() }] as [messages.OperationRequest] });

describe('the protected life of a VM', () => {
  it('goes from enable protection through initial replication and finalizing to Protected', async () => {
    const { site, vault } = setUp();
    await vault.run(async () => {
      const entity = await vault.protect('db-01');
      const { item, operations } = await entity.query(messages.protectedItemQuery);
      expect(item.recentJobs.map((job) => [job.kind, job.outcome])).toEqual([
        ['enableProtection', 'succeeded'],
        ['initialReplication', 'succeeded'],
        ['finalizeProtection', 'succeeded'],
      ]);
      expect(operations.plannedFailover).toEqual({ allowed: true });
      const seeding = await vault.job(item.recentJobs[1]!.id);
      expect(seeding.tasks.map((task) => [task.name, task.state])).toEqual(
        initialReplication.tasks.map((name) => [name, 'Succeeded']),
      );
      // Disks are copied one by one, each slice from where the last one ended.
      expect(site.called('copyDisk').map(({ input }) => [input['disk'], input['fromOffset']])).toEqual(
        ['os', 'data'].flatMap((disk) => [0, 250, 500, 750].map((offset) => [disk, offset])),
      );
    });
  });

  it('applies a small cycle in the task that hears of it, and from the queue what takes too long there', async () => {
    const { site, vault } = setUp();
    await vault.run(async () => {
      const entity = await vault.protect('db-12');
      // The first is a job's.
      await vault.until(entity, ({ item }) => item.applied?.sequence === 2, 60_000);
      expect(site.called('applyCycle').at(-1)!.queue).toBe(vault.workflowQueue);
      const open = site.gate('applyCycle');
      const before = site.called('applyCycle').length;
      await vault.until(entity, ({ item }) => item.applied?.sequence === 3, 60_000);
      open();
      const calls = site.called('applyCycle').slice(before, before + 2);
      expect(calls.map(({ queue }) => queue)).toEqual([vault.workflowQueue, taskQueues.azure(vault.vault)]);
      expect(calls[1]!.input).toEqual(calls[0]!.input);
      // The worker is well, and so tried there again with the next cycle.
      await vault.until(entity, ({ item }) => item.applied?.sequence === 4, 60_000);
      expect(site.called('applyCycle').at(-1)!.queue).toBe(vault.workflowQueue);
      // And by a worker that takes the VM over: of what took too long it hears otherwise than the one before.
      const { workflowId } = entity;
      expect(
        await replay(await workflowBundle(), [
          { workflowId, history: JSON.parse(historyToJSON(await entity.fetchHistory())) },
        ]),
      ).toEqual([]);
    });
  });

  it('cuts a cycle every five minutes, in sequence, with few events each', async () => {
    const { site, vault } = setUp();
    await vault.run(async () => {
      const entity = await vault.protect('db-02');
      const events = async () => (await entity.fetchHistory()).events!.length;
      const before = { events: await events(), cycles: site.called('cutAndShip').length };
      await vault.pass(31);
      const { item } = await vault.shown(entity);
      const cycles = site.called('cutAndShip');
      const queue = taskQueues.azure(vault.vault);
      const slow = site.called('applyCycle').filter((call) => call.queue === queue).length;
      // The next one may have come due.
      const atMost =
        EVENTS_PER_CYCLE * (cycles.length - before.cycles) + EVENTS_OF_DUE_CYCLE + EVENTS_OF_SLOW_CYCLE * slow;
      expect((await events()) - before.events).toBeLessThanOrEqual(atMost);
      // In steps, as each change would be one event more.
      expect((await entity.describe()).typedSearchAttributes.get(searchAttributes.rpoSeconds)).toBe(15);
      expect(cycles.length).toBeGreaterThanOrEqual(7);
      expect(cycles.map(({ input }) => input['sequence'])).toEqual(cycles.map((_, index) => index + 1));
      const gaps = cycles.slice(2).map((cycle, index) => Math.round((cycle.at - cycles[index + 1]!.at) / 60_000));
      expect(gaps).toEqual(gaps.map(() => 5));
      expect(item.applied?.sequence).toBe(cycles.length);
    });
  });

  it('makes a cycle immediately when asked to synchronize', async () => {
    const { site, vault } = setUp();
    await vault.run(async () => {
      const entity = await vault.protect('db-03');
      await vault.until(entity, ({ item }) => item.applied?.sequence === 2);
      const { sequence } = await entity.executeUpdate(messages.syncUpdate, request());
      await vault.until(entity, ({ item }) => (item.applied?.sequence ?? 0) >= sequence);
      expect(site.called('cutAndShip').length).toBe(3);
    });
  });

  it('a synchronization requested during a cycle gets the next cycle, immediately', async () => {
    const { site, vault } = setUp();
    await vault.run(async () => {
      const entity = await vault.protect('db-07');
      site.fail('applyCycle', 'StoreUnreachable');
      const waiting = await vault.until(entity, ({ item }) => item.retry !== undefined);
      const { sequence } = await entity.executeUpdate(messages.syncUpdate, request());
      // The logs of the cycle that waits were cut before the request: what was written since is not in it.
      expect(sequence).toBe(waiting.item.nextSequence + 1);
      site.heal('applyCycle');
      await vault.until(entity, ({ item }) => (item.applied?.sequence ?? 0) >= sequence);
      const applied = site.called('applyCycle').findLast(({ input }) => input['sequence'] === sequence - 1)!;
      const cut = site.called('cutAndShip').find(({ input }) => input['sequence'] === sequence)!;
      expect(cut.at - applied.at).toBeLessThan(60_000);
    });
  });

  it('continues when its cancellation is requested, and still answers every request', async () => {
    const { site, vault } = setUp();
    await vault.run(async () => {
      const entity = await vault.protect('db-08');
      const watch = time.env.client.workflow.getHandle(hostWatchId(vault.vault, vault.host));
      await entity.cancel();
      await watch.cancel();
      const { sequence } = await entity.executeUpdate(messages.syncUpdate, request());
      await vault.until(entity, ({ item }) => (item.applied?.sequence ?? 0) >= sequence);
      // A step that waits, in the loop as in a job, is retried as ever.
      site.fail('cutAndShip', 'DiskMissing', 1);
      await vault.until(entity, ({ item }) => item.retry !== undefined, 60_000);
      await entity.executeUpdate(messages.retryUpdate, request());
      await vault.until(entity, ({ item }) => item.retry === undefined);
      site.fail('checkFailoverTarget', 'InvalidReplicaState', 1);
      const plan = await vault.startPlan('cancelled', [{ name: 'all', vms: ['db-08'] }]);
      await vault.until(entity, ({ item }) => item.job?.retry !== undefined);
      await entity.executeUpdate(messages.retryUpdate, request());
      expect(await plan.result()).toMatchObject({ state: 'Succeeded' });
      expect((await entity.describe()).status.name).toBe('RUNNING');
    });
  });

  it('refuses operations that its state does not allow, and changes nothing', async () => {
    const { vault } = setUp();
    await vault.run(async () => {
      const entity = await vault.protect('db-04');
      const before = (await vault.shown(entity)).item;
      await expect(entity.executeUpdate(messages.jobUpdates.enableProtection, request())).rejects.toMatchObject({
        cause: { message: expect.stringContaining('already protected') },
      });
      await expect(entity.executeUpdate(messages.jobUpdates.commitFailover, request())).rejects.toMatchObject({
        cause: { message: expect.stringContaining('no failover to commit') },
      });
      await expect(entity.executeUpdate(messages.retryUpdate, request())).rejects.toMatchObject({
        cause: { message: expect.stringContaining('nothing is waiting') },
      });
      const after = (await vault.shown(entity)).item;
      // Cycles go on meanwhile, and so does what is told of the VM's health.
      const ofCycles = {
        applied: 0,
        shipped: 0,
        nextSequence: 0,
        begunSequence: 0,
        cycleDueAt: 0,
        latestRecoveryPoint: 0,
        cycleHistory: 0,
      };
      const others = { ...ofCycles, alertedHealth: 0 };
      expect({ ...after, ...others }).toEqual({ ...before, ...others });
    });
  });

  it('answers a repeated request with the same job', async () => {
    const { vault } = setUp();
    await vault.run(async () => {
      const entity = await vault.protect('db-05');
      const once = request();
      const first = await entity.executeUpdate(messages.jobUpdates.plannedFailover, once);
      await vault.until(entity, ({ item }) => item.phase === 'FailedOver');
      const again = await entity.executeUpdate(messages.jobUpdates.plannedFailover, once);
      expect(again).toEqual(first);
    });
  });

  it('ends, and can begin again, if the prerequisites are not met and the job is cancelled', async () => {
    const { site, vault } = setUp();
    site.fail('checkProtectable', 'PrerequisitesNotMet');
    await vault.run(async () => {
      const entity = await vault.startEntity('db-06');
      const { jobId } = await entity.executeUpdate(messages.jobUpdates.enableProtection, request());
      const waiting = await vault.until(entity, ({ item }) => item.job?.retry !== undefined);
      expect(waiting.health).toBe('Critical');
      await time.env.client.workflow.getHandle(jobId).signal(messages.cancelJobSignal, { reason: 'test' });
      expect(await entity.result()).toMatchObject({ phase: 'Unprotected' });
      site.heal('checkProtectable');
      await vault.protect('db-06');
    });
  });
});

describe('planned failover and commit', () => {
  it('sends a cycle that was cut while the VM ran before the final one', async () => {
    const { site, vault } = setUp();
    await vault.run(async () => {
      const entity = await vault.protect('app-02');
      await vault.until(entity, ({ item }) => item.nextSequence === 3);
      site.cutBefore.add(3);
      await entity.executeUpdate(messages.jobUpdates.plannedFailover, request());
      const { item } = await vault.until(entity, (view) => view.item.phase === 'FailedOver');
      expect(item.applied?.sequence).toBe(4);
      const sent = site.called('cutAndShip').slice(-2);
      expect(sent.map(({ input }) => input['sequence'])).toEqual([3, 4]);
      const order = site.calls.map(({ name }) => name);
      expect(order.lastIndexOf('shutDownVm')).toBeLessThan(order.lastIndexOf('cutAndShip'));
    });
  });

  it('loses nothing: exports closed before the final cut, last write issued = last write applied', async () => {
    const { site, vault } = setUp();
    await vault.run(async () => {
      const entity = await vault.protect('app-01');
      const { jobId } = await entity.executeUpdate(messages.jobUpdates.plannedFailover, request());
      const { item } = await vault.until(entity, (view) => view.item.phase === 'FailedOver');
      expect(item).toMatchObject({ activeSide: 'recovery', epoch: 2 });
      const job = await vault.job(jobId);
      const result = job.result as {
        rpoSeconds: number;
        exportsClosedAt: string;
        sealedAt: string;
        disks: { lastWriteIssued: number; lastWriteApplied: number }[];
      };
      expect(result.rpoSeconds).toBe(0);
      expect(result.exportsClosedAt <= result.sealedAt).toBe(true);
      expect(result.disks).toHaveLength(2);
      for (const disk of result.disks) expect(disk.lastWriteApplied).toBe(disk.lastWriteIssued);
      const order = site.calls.map((call) => call.name);
      expect(order.lastIndexOf('shutDownVm')).toBeLessThan(order.lastIndexOf('cutAndShip'));
      expect(order.lastIndexOf('fenceVm')).toBeLessThan(order.lastIndexOf('startFailover'));
      // Nothing is replicated from a source that no longer runs.
      const cycles = site.called('cutAndShip').length;
      await vault.pass(60);
      expect(site.called('cutAndShip').length).toBe(cycles);
      await entity.executeUpdate(messages.jobUpdates.commitFailover, request());
      await vault.until(entity, (view) => view.item.phase === 'Committed');
      expect(site.called('commitFailover')[0]?.input['recoveryPoint']).toBe('1-final');
    });
  });

  it('cuts until one cut is complete, however many were final earlier or cut while the VM ran', async () => {
    const { site, vault } = setUp();
    await vault.run(async () => {
      const entity = await vault.protect('app-04');
      site.fail('cutAndShip', 'StoreUnreachable');
      const { nextSequence } = (await vault.until(entity, ({ item }) => item.retry !== undefined, 60_000)).item;
      site.cutBefore.add(nextSequence);
      site.finalBefore.add(nextSequence + 1).add(nextSequence + 2);
      site.heal('cutAndShip');
      const { jobId } = await entity.executeUpdate(messages.jobUpdates.plannedFailover, request());
      const { item } = await vault.until(entity, (view) => view.item.phase === 'FailedOver');
      expect(item.applied?.sequence).toBe(nextSequence + 3);
      const { disks } = failoverResultSchema.parse((await vault.job(jobId)).result);
      for (const disk of disks) expect(disk.lastWriteApplied).toBe(disk.lastWriteIssued);
    });
  });

  it('does not fail over while the replica lacks a write that the tracker has recorded, and replication continues', async () => {
    const { site, vault } = setUp();
    await vault.run(async () => {
      const entity = await vault.protect('app-05');
      site.notApplied = 1;
      const { jobId } = await entity.executeUpdate(messages.jobUpdates.plannedFailover, request());
      const { item } = await vault.until(entity, (view) => view.item.recentJobs.at(-1)?.id === jobId);
      expect(await vault.job(jobId)).toMatchObject({ state: 'Failed', failure: { code: 'InvalidReplicaState' } });
      expect(site.called('startVm')).toHaveLength(1);
      // The cycle it made is not made again.
      await vault.until(entity, (view) => view.item.nextSequence > item.nextSequence, 60_000);
      const applied = site.called('applyCycle').map(({ input }) => input['sequence']);
      expect(applied).toEqual([...new Set(applied)]);
    });
  });

  it('if cancelled before "Start failover", starts the source again and replication continues', async () => {
    const { site, vault } = setUp();
    await vault.run(async () => {
      const entity = await vault.protect('app-02');
      site.fail('cutAndShip', 'StoreUnreachable');
      const { jobId } = await entity.executeUpdate(messages.jobUpdates.plannedFailover, request());
      await vault.until(entity, ({ item }) => item.job?.retry !== undefined);
      await time.env.client.workflow.getHandle(jobId).signal(messages.cancelJobSignal, { reason: 'not today' });
      site.heal('cutAndShip');
      await vault.until(entity, ({ item }) => item.job === undefined);
      expect(site.called('startVm')).toHaveLength(1);
      const { item } = await vault.until(entity, (view) => view.item.nextSequence > 3);
      expect(item).toMatchObject({ phase: 'Protected', activeSide: 'primary', epoch: 1 });
    });
  });

  it('a job that is terminated from outside is noticed', async () => {
    const { site, vault } = setUp();
    await vault.run(async () => {
      const entity = await vault.protect('app-03');
      site.fail('checkFailoverTarget', 'InvalidReplicaState');
      const { jobId } = await entity.executeUpdate(messages.jobUpdates.plannedFailover, request());
      await vault.until(entity, ({ item }) => item.job?.retry !== undefined);
      await time.env.client.workflow.getHandle(jobId).terminate('by hand');
      const { item } = await vault.until(entity, (view) => view.item.job === undefined, 60_000);
      expect(item.recentJobs.at(-1)).toMatchObject({ outcome: 'failed' });
    });
  });

  it('a retry of a job that was terminated from outside reports that, and the job is over', async () => {
    const { site, vault } = setUp();
    await vault.run(async () => {
      const entity = await vault.protect('app-05');
      site.fail('checkFailoverTarget', 'InvalidReplicaState');
      const { jobId } = await entity.executeUpdate(messages.jobUpdates.plannedFailover, request());
      await vault.until(entity, ({ item }) => item.job?.retry !== undefined);
      await time.env.client.workflow.getHandle(jobId).terminate('by hand');
      await expect(entity.executeUpdate(messages.retryUpdate, request())).rejects.toMatchObject({
        cause: { type: 'OperationNotAllowed', message: expect.stringContaining(`${jobId} was closed from outside`) },
      });
      const { item } = await vault.until(entity, (view) => view.item.job === undefined, 60_000);
      expect(item).toMatchObject({ phase: 'Protected', recentJobs: [{}, {}, {}, { outcome: 'failed' }] });
    });
  });

  it('a job whose entity is closed ends with an error', async () => {
    const { site, vault } = setUp();
    await vault.run(async () => {
      const entity = await vault.protect('app-04');
      site.fail('checkFailoverTarget', 'StoreUnreachable', 1);
      const { jobId } = await entity.executeUpdate(messages.jobUpdates.plannedFailover, request());
      await vault.until(entity, ({ item }) => item.job?.retry !== undefined);
      await entity.terminate('by hand');
      await expect(time.env.client.workflow.getHandle(jobId).result()).rejects.toMatchObject({
        cause: { type: 'EntityClosed' },
      });
      // The source was not left shut down.
      expect(site.called('shutDownVm').length).toBeLessThanOrEqual(site.called('startVm').length);
    });
  });
});
