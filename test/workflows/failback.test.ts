import { randomUUID } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import type { ProtectedItem } from '../../domain/protected-item.js';
import * as messages from '../../workflows/messages.js';
import type { ActivityName, Call } from './simulated-site.js';
import { skippedTime } from './skipped-time.js';

const { setUp } = skippedTime();
const request = (parameters?: messages.JobOperationRequest['parameters']) => ({
  args: [{ requestId: randomUUID(), ...(parameters && { parameters }) }] as [messages.JobOperationRequest],
});

const COMMITTED: Partial<ProtectedItem> = { phase: 'Committed', activeSide: 'recovery', epoch: 2, nextSequence: 5 };
const WAITING = 'Waiting for the failback to be completed';
const STEP_MS = 10_000;

const namesOf = (calls: readonly Call[], ...wanted: ActivityName[]) =>
  calls.map(({ name }) => name).filter((name) => wanted.includes(name));

describe('a failback', () => {
  it('goes on sending changes until it is completed; after commit and reverse replication the VM is protected', async () => {
    const { site, vault } = setUp();
    await vault.run(async () => {
      const entity = await vault.startEntity('db-01', COMMITTED);
      const { jobId } = await entity.executeUpdate(messages.jobUpdates.failback, request());
      await vault.until(entity, ({ item }) => item.job?.task === WAITING, STEP_MS);
      // Cycles while it waits.
      await vault.until(entity, () => site.called('receiveChanges').length >= 3, 60_000);
      expect(site.called('shutDownReplicaVm')).toEqual([]);
      expect(site.called('digestOriginal'), 'the originals are unchanged').toEqual([]);
      const completed = request();
      expect(await entity.executeUpdate(messages.completeFailbackUpdate, completed)).toEqual({ jobId });
      const { item } = await vault.until(entity, (view) => view.item.phase === 'FailedBack', STEP_MS);
      expect(item).toMatchObject({ activeSide: 'primary' });
      const job = await vault.job(jobId);
      expect(job).toMatchObject({ state: 'Succeeded', result: { originalUnchanged: true } });
      const [begun] = site.called('beginFailback');
      const epoch = begun!.input['epoch'] as number;
      expect(item.epoch).toBe(epoch + 1);
      expect(site.called('handOver').map(({ input }) => input)).toEqual([{ vm: 'db-01', epoch: epoch + 1 }]);
      expect(site.called('startVm').map(({ input }) => input)).toEqual([{ vm: 'db-01', epoch: epoch + 1 }]);
      // Each change set was received in order, before the next one was sent.
      expect(site.called('receiveChanges').map(({ input }) => input['sequence'])).toEqual(
        site.called('receiveChanges').map((_, index) => index),
      );
      expect(
        namesOf(site.calls, 'shutDownReplicaVm', 'handOver', 'startVm', 'discardFailback', 'restartReplicaVm'),
      ).toEqual(['shutDownReplicaVm', 'handOver', 'startVm']);

      await entity.executeUpdate(messages.jobUpdates.commitFailover, request());
      await vault.until(entity, (view) => view.item.phase === 'Committed', STEP_MS);
      expect(namesOf(site.calls, 'commitFailback', 'removeFailedBackReplicaVm', 'commitFailover')).toEqual([
        'commitFailback',
        'removeFailedBackReplicaVm',
      ]);
      await expect(entity.executeUpdate(messages.jobUpdates.failback, request())).rejects.toMatchObject({
        cause: { message: expect.stringContaining('farshore reverse-replicate db-01') },
      });
      await entity.executeUpdate(messages.jobUpdates.reverseReplicate, request());
      const again = await vault.until(entity, (view) => view.item.phase === 'Protected', STEP_MS);
      expect(again.item.resync).toBeUndefined();
      expect(again.item.recentJobs.map(({ kind }) => kind)).toEqual([
        ...['failback', 'commitFailover', 'reverseReplicate', 'resynchronize', 'finalizeProtection'],
      ]);
    });
  });

  it('compares digests if the originals may have changed', async () => {
    const { site, vault } = setUp();
    site.originalUnchanged = false;
    await vault.run(async () => {
      const entity = await vault.startEntity('db-01', COMMITTED);
      await entity.executeUpdate(messages.jobUpdates.failback, request({ synchronize: 'during' }));
      await vault.until(entity, (view) => view.item.phase === 'FailedBack', STEP_MS);
      expect(site.called('digestOriginal')).toHaveLength(8);
      expect(site.called('sendSnapshot').map(({ input }) => input['isOriginalEqual'])).toEqual([false]);
    });
  });

  it.each<[string, ActivityName | undefined, ActivityName[]]>([
    ['while it waits', undefined, ['discardFailback', 'endFailback']],
    ['with the replica VM shut down', 'sendReplicaCycle', ['restartReplicaVm', 'discardFailback', 'endFailback']],
  ])('that is cancelled %s is undone, and the VM stays at the recovery site', async (_, failing, undone) => {
    const { site, vault } = setUp();
    await vault.run(async () => {
      const entity = await vault.startEntity('db-01', COMMITTED);
      if (failing) site.fail(failing, 'StoreUnreachable');
      const parameters = failing ? ({ synchronize: 'during' } as const) : undefined;
      const { jobId } = await entity.executeUpdate(messages.jobUpdates.failback, request(parameters));
      await vault.until(
        entity,
        ({ item }) => (failing ? item.job?.retry !== undefined : item.job?.task === WAITING),
        STEP_MS,
      );
      await vault.cancelJob(jobId);
      const { item } = await vault.until(entity, (view) => view.item.job === undefined, STEP_MS);
      expect(item).toMatchObject({ phase: 'Committed', activeSide: 'recovery' });
      expect(item.leftovers).toBeUndefined();
      expect(item.epoch, 'the replica VM runs in the epoch of the failback').toBe(
        site.called('beginFailback')[0]!.input['epoch'],
      );
      expect(namesOf(site.calls, 'restartReplicaVm', 'discardFailback', 'endFailback', 'handOver')).toEqual(undone);
    });
  });

  it('that has continued as new is undone as well', async () => {
    const { site, vault } = setUp(undefined, { continueAsNewAfterEvents: 60 });
    await vault.run(async () => {
      const entity = await vault.startEntity('db-01', COMMITTED);
      const { jobId } = await vault.entity('db-01').executeUpdate(messages.jobUpdates.failback, request());
      await vault.until(entity, () => site.called('receiveChanges').length >= 8, 60_000);
      await vault.cancelJob(jobId);
      const { item } = await vault.until(entity, (view) => view.item.job === undefined, STEP_MS);
      expect(item).toMatchObject({ phase: 'Committed', activeSide: 'recovery' });
      expect(namesOf(site.calls, 'discardFailback', 'endFailback')).toEqual(['discardFailback', 'endFailback']);
      // Its preparations were made once.
      expect(namesOf(site.calls, 'beginFailback', 'sendSnapshot')).toEqual(['beginFailback', 'sendSnapshot']);
    });
  });

  it('keeps the VM running while its host cannot take it back', async () => {
    const { site, vault } = setUp();
    await vault.run(async () => {
      const entity = await vault.startEntity('db-01', COMMITTED);
      const { jobId } = await entity.executeUpdate(messages.jobUpdates.failback, request());
      await vault.until(entity, ({ item }) => item.job?.task === WAITING, STEP_MS);
      site.fail('checkFailbackTarget', 'HypervisorUnreachable');
      await entity.executeUpdate(messages.completeFailbackUpdate, request());
      const { operations } = await vault.until(entity, ({ item }) => item.job?.retry !== undefined, STEP_MS);
      expect(site.called('shutDownReplicaVm')).toEqual([]);
      expect(operations.cancelFailback).toMatchObject({
        reason: expect.stringContaining(`farshore job cancel ${jobId}`),
      });
      site.heal('checkFailbackTarget');
      await entity.executeUpdate(messages.retryUpdate, request());
      await vault.until(entity, (view) => view.item.phase === 'FailedBack', STEP_MS);
    });
  });

  it('whose changes are lost ends, and marks nothing for resynchronization', async () => {
    const { site, vault } = setUp();
    await vault.run(async () => {
      const entity = await vault.startEntity('db-01', COMMITTED);
      site.fail('sendReplicaCycle', 'ResyncRequired', 1);
      const { jobId } = await entity.executeUpdate(messages.jobUpdates.failback, request({ synchronize: 'during' }));
      const { item } = await vault.until(entity, (view) => view.item.recentJobs.length > 0, STEP_MS);
      expect(item).toMatchObject({ phase: 'Committed', activeSide: 'recovery' });
      expect(item.resync).toBeUndefined();
      expect(await vault.job(jobId)).toMatchObject({
        state: 'Failed',
        failure: { remedy: expect.stringContaining('Fail back again') },
      });
      expect(namesOf(site.calls, 'restartReplicaVm', 'discardFailback', 'endFailback')).toEqual([
        ...['restartReplicaVm', 'discardFailback', 'endFailback'],
      ]);
    });
  });

  it('is refused before the failover is committed, naming what to do', async () => {
    const { vault } = setUp();
    await vault.run(async () => {
      const entity = await vault.startEntity('db-01', { ...COMMITTED, phase: 'FailedOver' });
      await expect(entity.executeUpdate(messages.jobUpdates.failback, request())).rejects.toMatchObject({
        cause: { message: expect.stringContaining('farshore commit db-01') },
      });
      await expect(entity.executeUpdate(messages.completeFailbackUpdate, request())).rejects.toMatchObject({
        cause: { message: expect.stringContaining('no failback of it is running') },
      });
    });
  });
});

describe('a failback that is cancelled before its commit', () => {
  const FAILED_BACK: Partial<ProtectedItem> = { phase: 'FailedBack', activeSide: 'primary', epoch: 4 };
  const STEPS = ['shutDownVm', 'fenceVm', 'returnToRecovery', 'discardFailback', 'restartReplicaVm'] as const;

  it('takes the VM back to the recovery site, after it is off and fenced at the primary site', async () => {
    const { site, vault } = setUp();
    site.replicaVm = 'Off';
    await vault.run(async () => {
      const entity = await vault.startEntity('db-01', FAILED_BACK);
      const { jobId } = await entity.executeUpdate(messages.jobUpdates.cancelFailback, request());
      const { item } = await vault.until(entity, (view) => view.item.phase === 'Committed', STEP_MS);
      expect(item).toMatchObject({ activeSide: 'recovery' });
      expect(item.sourceFence).toBeUndefined();
      expect(await vault.job(jobId)).toMatchObject({ state: 'Succeeded' });
      expect(namesOf(site.calls, ...STEPS)).toEqual(STEPS);
      expect(site.startedTwice).toBe(0);
    });
  });

  it('changes nothing while the host does not answer, and names what to do', async () => {
    const { site, vault } = setUp();
    await vault.run(async () => {
      const entity = await vault.startEntity('db-01', FAILED_BACK);
      site.fail('checkSource', 'HypervisorUnreachable');
      const { jobId } = await entity.executeUpdate(messages.jobUpdates.cancelFailback, request());
      const { item } = await vault.until(entity, (view) => view.item.recentJobs.length > 0, STEP_MS);
      expect(item).toMatchObject({ phase: 'FailedBack', activeSide: 'primary' });
      expect(await vault.job(jobId)).toMatchObject({
        state: 'Failed',
        failure: {
          message: expect.stringContaining('nothing was changed'),
          remedy: expect.stringContaining('farshore cancel-failback db-01 --primary-lost'),
        },
      });
      expect(namesOf(site.calls, ...STEPS)).toEqual([]);
    });
  });

  it('does not wait for a primary site that is lost, and fences the VM there as soon as it answers', async () => {
    const { site, vault } = setUp();
    site.replicaVm = 'Off';
    await vault.run(async () => {
      const entity = await vault.startEntity('db-01', FAILED_BACK);
      for (const call of ['checkSource', 'shutDownVm', 'fenceVm'] as const) site.fail(call, 'HypervisorUnreachable');
      const { jobId } = await entity.executeUpdate(messages.jobUpdates.cancelFailback, request({ primaryLost: true }));
      const { item } = await vault.until(entity, (view) => view.item.phase === 'Committed', STEP_MS);
      expect(item.sourceFence?.epoch).toBe(item.epoch);
      const { tasks } = await vault.job(jobId);
      expect(tasks.map(({ state }) => state)).toEqual(['Succeeded', 'Failed', 'Succeeded', 'Skipped', 'Succeeded']);
      for (const call of ['shutDownVm', 'fenceVm'] as const) site.heal(call);
      await vault.until(entity, (view) => view.item.sourceFence === undefined, STEP_MS);
      expect(site.called('fenceVm').at(-1)!.input).toEqual({ vm: 'db-01', epoch: item.epoch });
    });
  });
});
