import { randomUUID } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { toFailure } from '../../domain/errors.js';
import { unplannedFailoverResultSchema, type JobParameters } from '../../domain/job.js';
import * as messages from '../../workflows/messages.js';
import { skippedTime } from './skipped-time.js';

const time = skippedTime();
const { setUp } = time;
const request = (parameters: JobParameters = {}) => ({
  args: [{ requestId: randomUUID(), parameters }] as [messages.JobOperationRequest],
});

describe('unplanned failover', () => {
  it('of a marked VM uses the newest point without the primary site; fencing is owed and done later', async () => {
    const { site, vault } = setUp();
    await vault.run(async () => {
      const entity = await vault.protect('db-01');
      site.fail('cutAndShip', 'LogBroken', 1);
      const marked = await vault.until(entity, ({ item }) => item.resync !== undefined, 60_000);
      expect(marked.operations.plannedFailover.allowed).toBe(false);
      for (const name of ['fenceVm', 'shutDownVm', 'startVm'] as const) site.fail(name, 'HypervisorUnreachable');
      const trouble = { failure: toFailure('AgentNotAnswering', 'm'), since: marked.item.resync!.since };
      await entity.signal(messages.hostNewsSignal, { trouble });
      await vault.until(entity, (view) => view.item.hostTrouble !== undefined);
      const asked = site.calls.length;
      const { jobId } = await entity.executeUpdate(messages.jobUpdates.unplannedFailover, request());
      const { item, conditions } = await vault.until(
        entity,
        (view) => view.item.phase === 'FailedOver' && view.item.sourceFence?.problem !== undefined,
      );
      expect(item).toMatchObject({ activeSide: 'recovery', epoch: 2, latestRecoveryPoint: { id: 'newest' } });
      expect(item.resync).toBeUndefined();
      // Who is silent there is told with what is owed; see below for a later job.
      expect(item.hostTrouble).toEqual(trouble);
      expect(conditions.find(({ reason }) => reason === 'SourceNotFenced')).toMatchObject({
        message: expect.stringMatching(
          /; its agent is not answering \(to restart it: farshore worker --role host --name \S+\); retried every minute, the last attempt failed at .*Z: /,
        ),
        // The Provider has tried, and so is there.
        remedy: expect.stringMatching(/^Restart the hypervisor: farshore hypervisor --host \S+\. (?!.*--role vmm)/),
      });
      expect(item.sourceFence).toMatchObject({ hostSilentAt: trouble.since });
      expect(conditions.map(({ reason }) => reason)).toContain('SourceNotFenced');
      // Watching the host and sending alerts go on beside it.
      const calls = site.calls.slice(asked).filter(({ name }) => name !== 'watchHost' && name !== 'postAlert');
      expect(calls.map(({ name }) => name)).toEqual([
        'checkUnplannedFailover',
        'settleRecoveryPoint',
        'startUnplannedFailover',
        'startReplicaVm',
        'recordJob',
        'fenceVm',
      ]);
      const job = await vault.job(jobId);
      const result = unplannedFailoverResultSchema.parse(job.result);
      expect(result).toMatchObject({ recoveryPoint: 'newest', cyclesProcessed: 2, shutDown: 'notTried' });
      expect(job.tasks.map(({ state }) => state)).toEqual([
        'Succeeded',
        'Skipped',
        'Succeeded',
        'Succeeded',
        'Succeeded',
      ]);
      expect(job.tasks[1]!.reason).toContain('not requested');

      site.heal('fenceVm');
      site.heal('shutDownVm');
      const fenced = await vault.until(entity, (view) => view.item.sourceFence === undefined, 60_000);
      // It had never heard of it, and went on taking writes.
      expect(fenced.item.hostTrouble).toBeUndefined();
      expect(fenced.item.sourceRan?.until).toEqual(expect.any(String));
      expect(fenced.conditions.map(({ reason }) => reason)).toEqual(['NotReverseReplicated', 'SourceRan']);
      expect(site.called('fenceVm').at(-1)?.input).toMatchObject({ epoch: 2 });
      expect(site.called('shutDownVm')).toHaveLength(1);
      await entity.executeUpdate(messages.jobUpdates.commitFailover, request());
      await vault.until(entity, (view) => view.item.phase === 'Committed');
      expect(site.called('commitFailover')[0]?.input['recoveryPoint']).toBe('newest');
    });
  });

  it('tells the source as soon as its host is heard again, and not only at the next attempt', async () => {
    const { site, vault } = setUp();
    await vault.run(async () => {
      const entity = await vault.protect('db-01');
      const trouble = { failure: toFailure('HypervisorUnreachable', 'm'), since: new Date(0).toISOString() };
      site.fail('fenceVm', 'HypervisorUnreachable');
      await entity.signal(messages.hostNewsSignal, { trouble });
      await entity.executeUpdate(messages.jobUpdates.unplannedFailover, request());
      const owed = await vault.until(entity, ({ item }) => item.sourceFence?.problem !== undefined);
      site.heal('fenceVm');
      await entity.signal(messages.hostNewsSignal, {});
      const { item } = await vault.until(entity, (view) => view.item.sourceFence === undefined);
      expect(item.phase).toBe('FailedOver');
      const triedAt = Date.parse(owed.item.sourceFence!.problem!.at);
      expect(site.called('fenceVm').at(-1)!.at - triedAt).toBeLessThan(50_000);
    });
  });

  it('takes over from a planned failover that is stuck, and does not start the source again', async () => {
    const { site, vault } = setUp();
    await vault.run(async () => {
      const entity = await vault.protect('db-01');
      site.fail('cutAndShip', 'StoreUnreachable');
      const planned = await entity.executeUpdate(messages.jobUpdates.plannedFailover, request());
      await vault.until(entity, ({ item }) => item.job?.retry !== undefined);
      await entity.executeUpdate(messages.jobUpdates.unplannedFailover, request({ recoveryPoint: 'latest-processed' }));
      const { item } = await vault.until(entity, (view) => view.item.phase === 'FailedOver');
      expect(item.latestRecoveryPoint?.id).toBe('latest-processed');
      expect(await vault.job(planned.jobId)).toMatchObject({ state: 'Cancelled' });
      expect(site.called('startVm')).toHaveLength(0);
    });
  });

  it('takes over even if the planned failover can only move forward', async () => {
    const { site, vault } = setUp();
    await vault.run(async () => {
      const entity = await vault.protect('db-01');
      site.fail('fenceVm', 'HypervisorUnreachable');
      const planned = await entity.executeUpdate(messages.jobUpdates.plannedFailover, request());
      await vault.until(entity, ({ item }) => item.job?.task === 'Start failover' && item.job.retry !== undefined);
      await entity.executeUpdate(messages.jobUpdates.unplannedFailover, request());
      await vault.until(entity, (view) => view.item.phase === 'FailedOver');
      expect(await vault.job(planned.jobId)).toMatchObject({ state: 'Cancelled' });
      expect(site.called('startFailover')).toHaveLength(0);
    });
  });

  it('continues with the replica VM that the planned failover was booting', async () => {
    const { site, vault } = setUp();
    await vault.run(async () => {
      const entity = await vault.protect('db-01');
      const booted = site.gate('startReplicaVm');
      await entity.executeUpdate(messages.jobUpdates.plannedFailover, request());
      await vault.until(entity, () => site.called('startReplicaVm').length === 1);
      site.replicaRunsFrom = 'of-planned';
      const { jobId } = await entity.executeUpdate(messages.jobUpdates.unplannedFailover, request());
      const { item } = await vault.until(entity, (view) => view.item.recentJobs.at(-1)?.id === jobId);
      booted();
      expect(item).toMatchObject({ phase: 'FailedOver', latestRecoveryPoint: { id: 'of-planned' } });
      expect(site.called('startUnplannedFailover')[0]?.input).toMatchObject({ recoveryPoint: 'of-planned' });
    });
  });

  it('fails if the vault refuses, and replication continues; at the next attempt, a source that answers is shut down first', async () => {
    const { site, vault } = setUp();
    await vault.run(async () => {
      const entity = await vault.protect('db-01');
      const { jobId } = await entity.executeUpdate(
        messages.jobUpdates.unplannedFailover,
        request({ recoveryPoint: 'gone' }),
      );
      await vault.until(entity, ({ item }) => item.recentJobs.at(-1)?.id === jobId);
      expect(await vault.job(jobId)).toMatchObject({ state: 'Failed', failure: { code: 'PrerequisitesNotMet' } });
      const before = (await vault.view('db-01')).item.nextSequence;
      const { item } = await vault.until(entity, (view) => view.item.nextSequence > before, 60_000);
      const again = await entity.executeUpdate(messages.jobUpdates.unplannedFailover, request({ tryShutDown: true }));
      await vault.until(entity, (view) => view.item.phase === 'FailedOver');
      expect((await vault.job(again.jobId)).result).toMatchObject({ shutDown: 'done' });
      // Cut once the source was off, it holds everything: no other is needed.
      const last = site.called('cutAndShip').at(-1)!;
      expect(last).toMatchObject({ input: { sequence: item.nextSequence } });
      expect(last.input).toHaveProperty('retention.hours');
      const order = site.calls.map(({ name }) => name);
      expect(order.indexOf('shutDownVm')).toBeLessThan(order.lastIndexOf('cutAndShip'));
    });
  });

  it('deletes no recovery point to make room for the last changes if a point was requested', async () => {
    const { site, vault } = setUp();
    await vault.run(async () => {
      const entity = await vault.protect('db-01');
      const { item } = await vault.until(entity, (view) => view.item.latestRecoveryPoint !== undefined);
      const parameters = { tryShutDown: true, recoveryPoint: item.latestRecoveryPoint!.id };
      await entity.executeUpdate(messages.jobUpdates.unplannedFailover, request(parameters));
      await vault.until(entity, (view) => view.item.phase === 'FailedOver');
      expect(site.called('cutAndShip').at(-1)!.input).not.toHaveProperty('retention');
    });
  });

  it('does not take a cut for complete that was final before the source last ran', async () => {
    const { site, vault } = setUp();
    await vault.run(async () => {
      const entity = await vault.protect('db-01');
      // What a planned one has left that was cancelled, as the store was away.
      site.fail('cutAndShip', 'StoreUnreachable');
      const { nextSequence } = (await vault.until(entity, ({ item }) => item.retry !== undefined, 60_000)).item;
      site.finalBefore.add(nextSequence);
      site.heal('cutAndShip');
      const { jobId } = await entity.executeUpdate(
        messages.jobUpdates.unplannedFailover,
        request({ tryShutDown: true }),
      );
      await vault.until(entity, (view) => view.item.phase === 'FailedOver');
      expect(site.called('cutAndShip').at(-1)).toMatchObject({ input: { sequence: nextSequence + 1 } });
      const { shutDown, disks } = unplannedFailoverResultSchema.parse((await vault.job(jobId)).result);
      expect(shutDown).toBe('done');
      expect(disks).toHaveLength(2);
      for (const disk of disks!) expect(disk.lastWriteApplied).toBe(disk.lastWriteIssued);
    });
  });

  it('reports a shutdown that was attempted without success as failed, and continues', async () => {
    const { site, vault } = setUp();
    await vault.run(async () => {
      const entity = await vault.protect('db-01');
      site.fail('shutDownVm', 'HypervisorUnreachable');
      const { jobId } = await entity.executeUpdate(
        messages.jobUpdates.unplannedFailover,
        request({ tryShutDown: true }),
      );
      await vault.until(entity, (view) => view.item.phase === 'FailedOver');
      const { state, tasks } = await vault.job(jobId);
      expect(state).toBe('Succeeded');
      expect(tasks[1]).toMatchObject({
        state: 'Failed',
        reason: expect.stringContaining('; the source is turned off'),
      });
    });
  });
});
