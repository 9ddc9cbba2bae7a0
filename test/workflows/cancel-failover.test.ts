import { randomUUID } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { cancelledFailoverResultSchema } from '../../domain/failover-cancellation.js';
import type { JobParameters } from '../../domain/job.js';
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
type Entity = Awaited<ReturnType<typeof failedOver>>;

const cancel = async (entity: Entity) =>
  (await entity.executeUpdate(messages.jobUpdates.cancelFailover, request({ reason: 'the host is back' }))).jobId;
const ended = (vault: TestVault, entity: Entity, id: string) =>
  vault.until(entity, (view) => view.item.recentJobs.some((one) => one.id === id), 10_000);

/** The names of the calls that matter, from here on. */
function callsFrom(site: SimulatedSite): () => string[] {
  const before = site.calls.length;
  const meant = /^(checkReturn|checkSource|checkFailoverC.*|.*ReplicaVm|endFailover|startVm)$/;
  return () => site.calls.slice(before).flatMap(({ name }) => (meant.test(name) ? name : []));
}

/** A job that can't get beyond an activity, which it tries again. */
async function stuckAt(site: SimulatedSite, vault: TestVault, at: 'stopReplicaVm' | 'startVm') {
  const entity = await failedOver(vault);
  site.fail(at, at === 'startVm' ? 'HypervisorUnreachable' : 'RecoverySideNotAnswering');
  const jobId = await cancel(entity);
  await vault.until(entity, ({ item }) => item.job?.retry !== undefined);
  return { entity, jobId };
}

describe('a failover that is cancelled', () => {
  it('turns the replica VM off before it starts the source, and deletes it only then; cycles continue if the replica is proven equal', async () => {
    const { site, vault } = setUp();
    await vault.run(async () => {
      const entity = await failedOver(vault);
      const calls = callsFrom(site);
      const jobId = await cancel(entity);
      await ended(vault, entity, jobId);
      expect(calls().slice(0, 8)).toEqual([
        ...['checkReturn', 'checkSource', 'checkFailoverCancellation', 'stopReplicaVm', 'endFailover'],
        ...['stopReplicaVm', 'startVm', 'deleteReplicaVm'],
      ]);
      expect(site.called('continueReplication')[0]!.input).toMatchObject({ epoch: 3, unchangedSince: { epoch: 1 } });
      expect(site.called('endFailover')[0]!.input).toEqual({ vm: 'db-01', epoch: 3 });
      expect(site.called('startVm').at(-1)!.input).toEqual({ vm: 'db-01', epoch: 3 });
      expect(site.startedTwice).toBe(0);
      const done = await vault.job(jobId);
      expect(done).toMatchObject({ state: 'Succeeded', reason: 'the host is back' });
      expect(cancelledFailoverResultSchema.parse(done.result)).toMatchObject({ discarded: WRITTEN });
      const { item } = await vault.until(entity, (view) => view.item.applied?.sequence === 2, 60_000);
      expect(item).toMatchObject({ phase: 'Protected', activeSide: 'primary', epoch: 3 });
      expect(item.recentJobs.at(-1)).toMatchObject({ id: jobId });
      const { input } = site.called('cutAndShip').find((call) => call.input['epoch'] === 3)!;
      expect(input).toMatchObject({ sequence: 1 });
    });
  });

  it.each([
    ['it is not certain what the replica holds', (site: SimulatedSite) => (site.doubt = 'a reason')],
    ['the source has changed', (site: SimulatedSite) => (site.sourceChanged = 'a reason')],
    ['the agent does not answer', (site: SimulatedSite) => site.fail('continueReplication', 'NetworkError', 1)],
    ['the vault does not answer', (site: SimulatedSite) => site.fail('continueReplica', 'StoreUnreachable', 1)],
  ])('compares both sites at once, whatever the window of the VM, if %s', async (_, happens) => {
    const { site, vault } = setUp();
    await vault.run(async () => {
      const entity = await failedOver(vault);
      happens(site);
      const jobId = await cancel(entity);
      const { item } = await vault.until(
        entity,
        (view) => view.item.recentJobs.at(-1)?.kind === 'resynchronize',
        10_000,
      );
      expect(await vault.job(jobId)).toMatchObject({
        result: {
          resyncCause: expect.stringMatching(/^its failover was cancelled, and its replica is not certain to/),
        },
      });
      expect(item).toMatchObject({ phase: 'Protected', activeSide: 'primary', epoch: 4 });
      expect(item.resync).toBeUndefined();
      const sent = item.nextSequence;
      await vault.until(entity, (view) => view.item.nextSequence > sent, 60_000);
    });
  });

  it.each([
    ['checkReturn', 'HypervisorUnreachable', /^Restart it: farshore hypervisor --host \S+\. .*Then cancel/],
    ['checkReturn', 'DiskMissing', /^Put the disk file back/],
    ['checkSource', 'AgentNotAnswering', /farshore worker --role host --name \S+\. .*Then cancel/],
    ['checkFailoverCancellation', 'StoreUnreachable', /check/],
  ] as const)('ends before anything is changed if a prerequisite fails: %s, %s', async (call, code, remedy) => {
    const { site, vault } = setUp();
    await vault.run(async () => {
      const entity = await failedOver(vault);
      site.fail(call, code);
      const jobId = await cancel(entity);
      const { item } = await ended(vault, entity, jobId);
      expect(item).toMatchObject({ phase: 'FailedOver', activeSide: 'recovery', epoch: 2 });
      expect(item.leftovers).toBeUndefined();
      expect(await vault.job(jobId)).toMatchObject({
        state: 'Failed',
        failure: {
          code,
          message: `simulated ${code}; nothing was changed, and the VM keeps running at the recovery site`,
          remedy: expect.stringMatching(remedy),
        },
      });
      expect(site.called('stopReplicaVm')).toEqual([]);
    });
  });

  it('runs at the recovery site again, with its writes, if the job is cancelled before the failover has ended', async () => {
    const { site, vault } = setUp();
    await vault.run(async () => {
      const { entity, jobId } = await stuckAt(site, vault, 'stopReplicaVm');
      site.replicaVm = 'Off';
      await job(jobId).signal(messages.cancelJobSignal, { reason: 'not today' });
      const { item } = await ended(vault, entity, jobId);
      expect(item).toMatchObject({ phase: 'FailedOver', recentJobs: expect.arrayContaining([]) });
      expect(item.recentJobs.at(-1)).toMatchObject({ outcome: 'cancelled' });
      expect(site.replicaVm).toBe('Running');
      expect([site.called('endFailover'), site.called('deleteReplicaVm')]).toEqual([[], []]);
    });
  });

  it('goes home once the failover has ended, even if the job is cancelled then', async () => {
    const { site, vault } = setUp();
    await vault.run(async () => {
      const { entity, jobId } = await stuckAt(site, vault, 'startVm');
      expect([site.replicaVm, site.called('deleteReplicaVm')]).toEqual(['Off', []]);
      await job(jobId).signal(messages.cancelJobSignal, { reason: 'too late' });
      site.heal('startVm');
      const { item } = await vault.until(entity, (view) => view.item.phase === 'Protected', 60_000);
      expect(item.recentJobs.find(({ id }) => id === jobId)).toMatchObject({ outcome: 'succeeded' });
      expect(site.startedTwice).toBe(0);
    });
  });

  it('is cancelled by a second job if the first one was terminated halfway', async () => {
    const { site, vault } = setUp();
    await vault.run(async () => {
      const { entity, jobId } = await stuckAt(site, vault, 'startVm');
      await job(jobId).terminate('by hand');
      const left = await vault.until(entity, (view) => view.item.job === undefined, 60_000);
      expect(left.item).toMatchObject({ phase: 'FailedOver', leftovers: [{ what: 'startReplica' }] });
      // According to the vault, it belongs to the primary site by now.
      site.fail('restartReplicaVm', 'StaleEpoch');
      await entity.executeUpdate(messages.retryUpdate, { args: [{ requestId: randomUUID() }] });
      await vault.until(entity, ({ item }) => item.leftovers?.[0]?.failure.code === 'StaleEpoch');
      site.heal('startVm');
      const again = await cancel(entity);
      const { item } = await ended(vault, entity, again);
      expect(item).toMatchObject({ phase: 'Protected', activeSide: 'primary' });
      expect(item.leftovers).toBeUndefined();
      expect(site.startedTwice).toBe(0);
    });
  });

  it('waits until the source has been fenced after an unplanned failover', async () => {
    const { site, vault } = setUp();
    await vault.run(async () => {
      const entity = await vault.protect('db-01');
      site.fail('fenceVm', 'HypervisorUnreachable');
      await entity.executeUpdate(messages.jobUpdates.unplannedFailover, request());
      const owed = await vault.until(entity, ({ item }) => item.sourceFence?.problem !== undefined);
      expect(owed.operations.cancelFailover).toMatchObject({
        allowed: false,
        reason: expect.stringMatching(/has not been turned off and fenced .*farshore hypervisor .*--role vmm/),
      });
      await expect(cancel(entity)).rejects.toMatchObject({ cause: { type: 'OperationNotAllowed' } });
      site.heal('fenceVm');
      const fenced = await vault.until(entity, ({ item }) => item.sourceFence === undefined, 60_000);
      expect(fenced.item.sourceRan).toBeDefined();
      const jobId = await cancel(entity);
      const { item } = await ended(vault, entity, jobId);
      expect(item).toMatchObject({ phase: 'Protected' });
      expect(item.sourceRan).toBeUndefined();
    });
  });

  it('is taken over by an unplanned failover if the primary site is lost before the source could be started', async () => {
    const { site, vault } = setUp();
    await vault.run(async () => {
      const { entity, jobId } = await stuckAt(site, vault, 'startVm');
      const failover = await entity.executeUpdate(messages.jobUpdates.unplannedFailover, request());
      const { item } = await ended(vault, entity, failover.jobId);
      expect(item).toMatchObject({ phase: 'FailedOver', activeSide: 'recovery' });
      expect(await vault.job(jobId)).toMatchObject({ state: 'Cancelled' });
      expect([site.replicaVm, site.startedTwice]).toEqual(['Running', 0]);
      // The source, which may be started late, is told once it answers.
      await vault.until(entity, (view) => view.item.sourceFence === undefined, 60_000);
      expect(site.called('fenceVm').at(-1)!.input).toMatchObject({ epoch: item.epoch });
    });
  });

  it('is not taken over before that', async () => {
    const { site, vault } = setUp();
    await vault.run(async () => {
      const { entity } = await stuckAt(site, vault, 'stopReplicaVm');
      await expect(entity.executeUpdate(messages.jobUpdates.unplannedFailover, request())).rejects.toMatchObject({
        cause: { type: 'OperationNotAllowed' },
      });
      site.heal('stopReplicaVm');
    });
  });
});

describe('its preview', () => {
  it('names everything that prevents it at once, and changes nothing', async () => {
    const { site, vault } = setUp();
    await vault.run(async () => {
      await failedOver(vault);
      const { host, vmmServer, epoch } = (await vault.view('db-01')).item;
      const preview = async () =>
        await time.env.client.workflow.execute<(input: messages.PreviewJobInput) => Promise<JobPreview>>('previewJob', {
          workflowId: `preview/${vault.vault}/db-01/cancel-failover/${randomUUID()}`,
          taskQueue: vault.workflowQueue,
          args: [{ vault: vault.vault, vm: 'db-01', host, vmmServer, epoch, kind: 'cancelFailover' }],
        });
      const calls = callsFrom(site);
      expect(await preview()).toEqual({
        blockers: [],
        cancellation: {
          replicaVm: { power: 'Running', written: WRITTEN },
          source: { host: 'host-1', isRunning: false },
        },
      });
      site.fail('checkReturn', 'DiskMissing');
      site.fail('checkSource', 'StoreUnreachable');
      expect((await preview()).blockers.map((blocker) => blocker.split('.')[0])).toEqual([
        ...['simulated DiskMissing', 'simulated StoreUnreachable'],
      ]);
      expect(calls().filter((name) => !name.startsWith('check'))).toEqual([]);
    });
  });
});
