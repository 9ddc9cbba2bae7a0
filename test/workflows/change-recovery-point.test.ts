import { randomUUID } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import type { JobParameters } from '../../domain/job.js';
import { pointChangeResultSchema } from '../../domain/point-change.js';
import type { JobPreview } from '../../domain/job-preview.js';
import * as messages from '../../workflows/messages.js';
import { WRITTEN, type SimulatedSite } from './simulated-site.js';
import { skippedTime } from './skipped-time.js';
import type { TestVault } from './test-vault.js';

const time = skippedTime();
const { setUp } = time;
const request = (parameters: JobParameters = {}) => ({
  args: [{ requestId: randomUUID(), parameters }] as [messages.JobOperationRequest],
});
const job = (id: string) => time.env.client.workflow.getHandle(id);

async function failedOver(vault: TestVault) {
  const entity = await vault.protect('db-01');
  await entity.executeUpdate(messages.jobUpdates.plannedFailover, request());
  await vault.until(entity, ({ item }) => item.phase === 'FailedOver');
  return entity;
}

const asked = { recoveryPoint: 'older', reason: 'the database does not start' };
const change = async (entity: Awaited<ReturnType<typeof failedOver>>) =>
  (await entity.executeUpdate(messages.jobUpdates.changeRecoveryPoint, request(asked))).jobId;

/** The names of its calls of the recovery site from here on. */
function callsFrom(site: SimulatedSite): () => string[] {
  const before = site.calls.length;
  return () => site.calls.slice(before).flatMap(({ name }) => (/Replica|Point|recordJob/.test(name) ? name : []));
}

describe('a change of the recovery point', () => {
  it('deletes the replica VM, creates it again from the other point under a higher epoch, and starts it', async () => {
    const { site, vault } = setUp();
    await vault.run(async () => {
      const entity = await failedOver(vault);
      const calls = callsFrom(site);
      const jobId = await change(entity);
      const { item } = await vault.until(entity, (view) => view.item.recentJobs.at(-1)?.id === jobId);
      expect(calls()).toEqual([
        ...['checkPointChange', 'stopReplicaVm', 'deleteReplicaVm', 'createReplicaVmAt', 'startReplicaVm', 'recordJob'],
      ]);
      expect(item).toMatchObject({ phase: 'FailedOver', epoch: 3, latestRecoveryPoint: { id: 'older' } });
      for (const name of ['stopReplicaVm', 'deleteReplicaVm'] as const)
        expect(site.called(name)[0]!.input).toEqual({ vm: 'db-01', madeBefore: 3 });
      const done = await vault.job(jobId);
      expect(done).toMatchObject({ state: 'Succeeded', reason: 'the database does not start' });
      expect(pointChangeResultSchema.parse(done.result)).toMatchObject({
        ...{ recoveryPoint: 'older', replacedPoint: 'before', discarded: WRITTEN },
      });
      expect(site.startedTwice).toBe(0);
      await entity.executeUpdate(messages.jobUpdates.commitFailover, request());
      await vault.until(entity, (view) => view.item.phase === 'Committed');
      expect(site.called('commitFailover')[0]?.input).toMatchObject({ epoch: 3, recoveryPoint: 'older' });
    });
  });

  it('that is refused fails before anything is changed', async () => {
    const { site, vault } = setUp();
    await vault.run(async () => {
      const entity = await failedOver(vault);
      const parameters = { recoveryPoint: 'gone' };
      const { jobId } = await entity.executeUpdate(messages.jobUpdates.changeRecoveryPoint, request(parameters));
      const { item } = await vault.until(entity, (view) => view.item.recentJobs.at(-1)?.id === jobId);
      expect(item).toMatchObject({ phase: 'FailedOver', epoch: 2 });
      expect(await vault.job(jobId)).toMatchObject({ failure: { message: 'db-01 has no recovery point "gone"' } });
      expect(site.called('stopReplicaVm')).toEqual([]);
      expect(site.replicaVm).toBe('Running');
    });
  });

  it('that is cancelled before the replica VM is deleted starts it again', async () => {
    const { site, vault } = setUp();
    await vault.run(async () => {
      const entity = await failedOver(vault);
      site.fail('stopReplicaVm', 'RecoverySideNotAnswering');
      const jobId = await change(entity);
      await vault.until(entity, ({ item }) => item.job?.retry !== undefined);
      site.replicaVm = 'Off';
      await job(jobId).signal(messages.cancelJobSignal, { reason: 'it works after all' });
      const { item } = await vault.until(entity, (view) => view.item.job === undefined);
      expect(item.recentJobs.at(-1)).toMatchObject({ outcome: 'cancelled' });
      expect(item.leftovers).toBeUndefined();
      expect(site.called('deleteReplicaVm')).toEqual([]);
      expect(site.replicaVm).toBe('Running');
    });
  });

  it('that is cancelled once the replica VM is being deleted runs to its end', async () => {
    const { site, vault } = setUp();
    await vault.run(async () => {
      const entity = await failedOver(vault);
      site.fail('deleteReplicaVm', 'RecoverySideNotAnswering');
      const jobId = await change(entity);
      await vault.until(entity, ({ item }) => item.job?.retry !== undefined);
      await job(jobId).signal(messages.cancelJobSignal, { reason: 'too late' });
      site.heal('deleteReplicaVm');
      const { item } = await vault.until(entity, (view) => view.item.job === undefined, 30_000);
      expect(item.recentJobs.at(-1)).toMatchObject({ outcome: 'succeeded' });
      expect(site.replicaVm).toBe('Running');
    });
  });

  it('that is terminated leaves a VM that `retry` starts again, and that can be changed again', async () => {
    const { site, vault } = setUp();
    await vault.run(async () => {
      const entity = await failedOver(vault);
      site.fail('deleteReplicaVm', 'RecoverySideNotAnswering');
      const jobId = await change(entity);
      await vault.until(entity, ({ item }) => item.job?.retry !== undefined);
      await job(jobId).terminate('by hand');
      const left = await vault.until(entity, (view) => view.item.job === undefined, 60_000);
      expect(left.item.leftovers).toMatchObject([{ what: 'startReplica' }]);
      expect(left.health).toBe('Critical');
      site.heal('deleteReplicaVm');
      await entity.executeUpdate(messages.retryUpdate, { args: [{ requestId: randomUUID() }] });
      await vault.until(entity, (view) => view.item.leftovers === undefined);
      expect(site.replicaVm).toBe('Running');
      const again = await change(entity);
      const { item } = await vault.until(entity, (view) => view.item.recentJobs.at(-1)?.id === again);
      expect(item).toMatchObject({ epoch: 3, latestRecoveryPoint: { id: 'older' } });
    });
  });
});

describe('its preview', () => {
  const preview = async (vault: TestVault, recoveryPoint: string): Promise<JobPreview> => {
    const { host, vmmServer, epoch } = (await vault.view('db-01')).item;
    const { vault: name } = vault;
    const kind = 'changeRecoveryPoint' as const;
    return await time.env.client.workflow.execute<(input: messages.PreviewJobInput) => Promise<JobPreview>>(
      'previewJob',
      {
        workflowId: `preview/${name}/db-01/change-recovery-point/${randomUUID()}`,
        taskQueue: vault.workflowQueue,
        args: [{ vault: name, vm: 'db-01', host, vmmServer, epoch, kind, parameters: { recoveryPoint } }],
      },
    );
  };

  it('tells what would happen and what prevents it, once, and changes nothing', async () => {
    const { site, vault } = setUp();
    await vault.run(async () => {
      await failedOver(vault);
      const calls = callsFrom(site);
      expect(await preview(vault, 'older')).toMatchObject({
        blockers: [],
        pointChange: { from: { id: 'before' }, to: { id: 'older' }, replicaVm: { power: 'Running', written: WRITTEN } },
      });
      expect(await preview(vault, 'gone')).toEqual({ blockers: ['db-01 has no recovery point "gone"'] });
      site.fail('checkPointChange', 'StoreUnreachable');
      expect(await preview(vault, 'older')).toEqual({
        blockers: [
          'simulated StoreUnreachable. For a storage account, check the account and the network; for a folder, check that it is mounted.',
        ],
      });
      expect(calls()).toEqual(['checkPointChange', 'checkPointChange', 'checkPointChange']);
    });
  });
});
