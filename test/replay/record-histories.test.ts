/**
 * Records histories of every workflow, as the code makes them now, into a folder of their own: `FARSHORE_RECORD_HISTORIES=NAME
 * npm run histories`. Each folder is written once: what is in it is how runs were begun by a certain behaviour, and all that
 * follows has to bring them to their end. After a change behind `patched` a new one is recorded, and `replay.test.ts` told of it.
 */
import { mkdir, writeFile } from 'node:fs/promises';
import { randomUUID } from 'node:crypto';
import { fileURLToPath } from 'node:url';
import type { WorkflowClient } from '@temporalio/client';
import { historyToJSON } from '@temporalio/common/lib/proto-utils.js';
import { beforeAll, describe, test } from 'vitest';
import { hostWatchId, previewId, vaultBoardId } from '../../domain/ids.js';
import type { JobOperation } from '../../domain/jobs/known-jobs.js';
import type { Phase } from '../../domain/protected-item.js';
import * as messages from '../../workflows/messages.js';
import { realTime } from '../workflows/real-time.js';
import { retriedDuringAttempt } from '../workflows/retried-attempt.js';
import type { SimulatedSite } from '../workflows/simulated-site.js';
import { skippedTime } from '../workflows/skipped-time.js';
import type { TestVault } from '../workflows/test-vault.js';

const name = process.env['FARSHORE_RECORD_HISTORIES'];
const folder = fileURLToPath(new URL(`histories/${name}/`, import.meta.url));

/** Who recorded a history, and where, is nobody's business. */
const neutral = (key: string, value: unknown): unknown =>
  key === 'identity' ? 'recorder' : key === 'stackTrace' ? '' : value;

async function write(client: WorkflowClient, file: string, workflowId: string): Promise<void> {
  const handle = client.getHandle(workflowId);
  const { type } = await handle.describe();
  const history: unknown = JSON.parse(historyToJSON(await handle.fetchHistory()), neutral);
  await writeFile(`${folder}${file}.json`, JSON.stringify({ type, workflowId, history }));
}

const request = () => ({ args: [{ requestId: randomUUID() }] as [messages.JobOperationRequest] });

describe.runIf(name)('recording', { timeout: 400_000 }, () => {
  // Fails for a folder that is there.
  beforeAll(async () => {
    await mkdir(fileURLToPath(new URL('histories/', import.meta.url)), { recursive: true });
    await mkdir(folder);
  });
  const time = skippedTime();
  const real = realTime();
  const save = (file: string, workflowId: string) => write(time.env.client.workflow, file, workflowId);
  const job = (id: string) => time.env.client.workflow.getHandle(id);

  /** @param work with a vault of its own. */
  const records = (title: string, work: (vault: TestVault, site: SimulatedSite) => Promise<void>) =>
    test(title, async () => {
      const { vault, site } = time.setUp();
      await vault.run(() => work(vault, site));
    });

  records('a VM from its protection to its commit, failed over by a plan', async (vault, site) => {
    const entity = await vault.protect('db-01');
    await vault.until(entity, ({ item }) => item.applied?.sequence === 2);
    site.fail('cutAndShip', 'StoreUnreachable', 3);
    await vault.until(entity, ({ item }) => (item.applied?.sequence ?? 0) >= 3, 60_000);
    const plan = await vault.startPlan('recorded', [{ name: 'all', vms: ['db-01'] }]);
    await plan.result();
    const current = vault.entity('db-01');
    await current.executeUpdate(messages.jobUpdates.commitFailover, request());
    const { item } = await vault.until(current, (view) => view.item.phase === 'Committed');
    for (const { kind, id } of item.recentJobs) await save(kind, id);
    await save('run-recovery-plan', plan.workflowId);
    await save('protect-vm', entity.workflowId);
  });

  records('an unplanned failover that takes over from a planned one', async (vault, site) => {
    const entity = await vault.protect('db-01');
    const letGo = site.gate('startFailover');
    const planned = await entity.executeUpdate(messages.jobUpdates.plannedFailover, request());
    await vault.until(entity, () => site.called('startFailover').length === 1);
    site.fail('shutDownVm', 'HypervisorUnreachable', 1);
    const { jobId } = await entity.executeUpdate(messages.jobUpdates.unplannedFailover, {
      args: [{ requestId: randomUUID(), parameters: { tryShutDown: true } }],
    });
    await vault.until(entity, ({ item }) => item.recentJobs.at(-1)?.id === jobId && item.phase === 'FailedOver');
    letGo();
    await job(planned.jobId)
      .result()
      .catch(() => undefined);
    await vault.until(entity, ({ item }) => item.sourceFence === undefined, 60_000);
    await save('plannedFailover-superseded', planned.jobId);
    await save('unplannedFailover', jobId);
    await save('protect-vm-unplanned', entity.workflowId);
  });

  records('a VM that goes to the recovery site and back, after a failback that was cancelled', async (vault, site) => {
    const entity = await vault.protect('db-01');
    const until = (phase: Phase) => vault.until(vault.entity('db-01'), ({ item }) => item.phase === phase && !item.job);
    const ask = (kind: JobOperation) => vault.entity('db-01').executeUpdate(messages.jobUpdates[kind], request());
    await ask('plannedFailover');
    await until('FailedOver');
    await ask('commitFailover');
    await until('Committed');
    site.fail('sendReplicaCycle', 'StoreUnreachable');
    const cancelled = await ask('failback');
    await vault.until(vault.entity('db-01'), ({ item }) => item.job?.retry !== undefined, 10_000);
    await job(cancelled.jobId).signal(messages.cancelJobSignal, { reason: 'not today' });
    await until('Committed');
    site.heal('sendReplicaCycle');
    const { jobId } = await ask('failback');
    await vault.until(vault.entity('db-01'), () => site.called('receiveChanges').length > 3, 10_000);
    await vault.entity('db-01').executeUpdate(messages.completeFailbackUpdate, request());
    await until('FailedBack');
    const returned = await ask('cancelFailback');
    await until('Committed');
    await vault.entity('db-01').executeUpdate(messages.jobUpdates.failback, {
      args: [{ requestId: randomUUID(), parameters: { synchronize: 'during' } }],
    });
    await until('FailedBack');
    const committed = await ask('commitFailover');
    await until('Committed');
    const reversed = await ask('reverseReplicate');
    await until('Protected');
    await save('failback', jobId);
    await save('failback-cancelled', cancelled.jobId);
    await save('cancelFailback', returned.jobId);
    await save('commitFailover-failback', committed.jobId);
    await save('reverseReplicate', reversed.jobId);
    await save('protect-vm-failed-back', entity.workflowId);
  });

  records('a resynchronization', async (vault) => {
    const entity = await vault.protect('db-01');
    const { jobId } = await entity.executeUpdate(messages.resynchronizeUpdate, {
      args: [{ requestId: randomUUID(), now: true }],
    });
    await vault.until(entity, ({ item }) => item.recentJobs.at(-1)?.id === jobId);
    await save('resynchronize', jobId!);
  });

  records('a VM whose host is watched, to the end of its protection', async (vault, site) => {
    const entity = await vault.protect('db-01');
    const failure = { code: 'HypervisorUnreachable', class: 'recoverable', message: 'm', remedy: 'r' } as const;
    site.host = { failure, stopped: {} };
    // A second VM makes the watch look at once.
    const other = await vault.protect('db-02');
    await vault.until(entity, ({ item }) => item.hostTrouble !== undefined);
    await entity.executeUpdate(messages.pauseUpdate, request());
    await entity.executeUpdate(messages.resumeUpdate, request());
    const verified = await entity.executeUpdate(messages.jobUpdates.verifyReplica, request());
    await vault.until(entity, ({ item }) => item.recentJobs.at(-1)?.kind === 'verifyReplica');
    const disabled = await entity.executeUpdate(messages.jobUpdates.disableProtection, request());
    await entity.result();
    await other.executeUpdate(messages.jobUpdates.disableProtection, request());
    await other.result();
    const watch = job(hostWatchId(vault.vault, vault.host));
    await watch.result();
    await save('verifyReplica', verified.jobId);
    await save('disableProtection', disabled.jobId);
    await save('host-watch', watch.workflowId);
    await save('protect-vm-watched', entity.workflowId);
  });

  records('a VM that moves, between its cycles and within a job', async (vault, site) => {
    const other = `other-${vault.vault}`;
    await vault.startAgent(other);
    const entity = await vault.protect('db-01');
    site.moved.set('db-01', { host: other, tracking: { epoch: 1 } });
    site.fail('cutAndShip', 'VmNotFound', 1);
    await entity.executeUpdate(messages.syncUpdate, request());
    await vault.until(entity, ({ item }) => item.host === other && item.retry === undefined);
    site.moved.set('db-01', { host: vault.host, tracking: { epoch: 1 } });
    site.fail('checkSource', 'VmNotFound', 1);
    const { jobId } = await entity.executeUpdate(messages.jobUpdates.verifyReplica, request());
    await vault.until(entity, ({ item }) => item.host === vault.host && item.recentJobs.at(-1)?.id === jobId);
    await save('verifyReplica-moved', jobId);
    await save('protect-vm-moved', entity.workflowId);
  });

  records('a VM that waits for a person, and is retried while an attempt is under way', async (vault, site) => {
    await retriedDuringAttempt(site, vault, 'db-01');
    const entity = vault.entity('db-01');
    site.heal('cutAndShip');
    await entity.executeUpdate(messages.retryUpdate, request());
    await vault.until(entity, ({ item }) => item.applied?.sequence === 3);
    await save('protect-vm-waiting', entity.workflowId);
  });

  records('a VM whose cycle takes too long to be applied where the workflow runs', async (vault, site) => {
    const entity = await vault.protect('db-01');
    await vault.until(entity, ({ item }) => item.applied?.sequence === 2, 60_000);
    const open = site.gate('applyCycle');
    await vault.until(entity, () => site.called('applyCycle').at(-1)?.input['sequence'] === 3, 60_000);
    await vault.until(
      entity,
      () => site.called('applyCycle').filter(({ input }) => input['sequence'] === 3).length === 2,
    );
    open();
    await vault.until(entity, ({ item }) => item.applied?.sequence === 3, 60_000);
    await save('protect-vm-slow', entity.workflowId);
  });

  records('a VM between its failover and its commit: from another point, and home again', async (vault, site) => {
    const entity = await vault.protect('db-01');
    const failOver = async () => {
      await entity.executeUpdate(messages.jobUpdates.plannedFailover, request());
      await vault.until(entity, ({ item }) => item.phase === 'FailedOver');
    };
    const done = (id: string) =>
      vault.until(entity, ({ item }) => item.recentJobs.some((one) => one.id === id), 10_000);
    const parameters = { recoveryPoint: 'older', reason: 'it does not start' };
    const args: [messages.JobOperationRequest] = [{ requestId: randomUUID(), parameters }];
    await failOver();
    const { host, vmmServer, epoch } = (await vault.view('db-01')).item;
    for (const kind of ['changeRecoveryPoint', 'cancelFailover'] as const) {
      const workflowId = previewId(vault.vault, 'db-01', kind, 'recorded');
      const input = { vault: vault.vault, vm: 'db-01', host, vmmServer, epoch, kind };
      await time.env.client.workflow.execute('previewJob', {
        workflowId,
        taskQueue: vault.workflowQueue,
        args: [input],
      });
      await save(`previewJob-${kind}`, workflowId);
    }
    const changed = await entity.executeUpdate(messages.jobUpdates.changeRecoveryPoint, { args });
    await done(changed.jobId);
    const home = await entity.executeUpdate(messages.jobUpdates.cancelFailover, request());
    await done(home.jobId);
    // A second time without the proof, begun by a job that is cancelled too late.
    await failOver();
    site.doubt = 'a reason';
    site.fail('startVm', 'HypervisorUnreachable', 1);
    const compared = await entity.executeUpdate(messages.jobUpdates.cancelFailover, request());
    await vault.until(entity, ({ item }) => item.job?.retry !== undefined);
    await job(compared.jobId).signal(messages.cancelJobSignal, { reason: 'too late' });
    await vault.until(entity, ({ item }) => item.recentJobs.at(-1)?.kind === 'resynchronize', 10_000);
    await save('changeRecoveryPoint', changed.jobId);
    await save('cancelFailover', home.jobId);
    await save('cancelFailover-compared', compared.jobId);
    await save('protect-vm-home-again', entity.workflowId);
  });

  records(
    'a job between failover and commit that is cancelled, and one that is taken over from',
    async (vault, site) => {
      const entity = await vault.protect('db-01');
      await entity.executeUpdate(messages.jobUpdates.plannedFailover, request());
      await vault.until(entity, ({ item }) => item.phase === 'FailedOver');
      site.fail('stopReplicaVm', 'RecoverySideNotAnswering');
      const changed = await entity.executeUpdate(messages.jobUpdates.changeRecoveryPoint, request());
      await vault.until(entity, ({ item }) => item.job?.retry !== undefined);
      await job(changed.jobId).signal(messages.cancelJobSignal, { reason: 'not today' });
      await vault.until(entity, ({ item }) => item.job === undefined);
      site.heal('stopReplicaVm');
      site.fail('startVm', 'HypervisorUnreachable');
      const home = await entity.executeUpdate(messages.jobUpdates.cancelFailover, request());
      await vault.until(entity, ({ item }) => item.job?.retry !== undefined);
      const again = await entity.executeUpdate(messages.jobUpdates.unplannedFailover, request());
      await vault.until(entity, ({ item }) => item.recentJobs.at(-1)?.id === again.jobId);
      await save('changeRecoveryPoint-cancelled', changed.jobId);
      await save('cancelFailover-superseded', home.jobId);
      await save('unplannedFailover-of-half-cancelled', again.jobId);
      await save('protect-vm-taken-over', entity.workflowId);
    },
  );

  records('a test failover beside a verification, and its clean-up', async (vault, site) => {
    const entity = await vault.protect('db-01');
    const open = site.gate('digestForVerification');
    await entity.executeUpdate(messages.jobUpdates.verifyReplica, request());
    await vault.until(entity, () => site.called('digestForVerification').length === 1);
    const tested = await entity.executeUpdate(messages.jobUpdates.testFailover, request());
    await vault.until(entity, ({ item }) => item.drill?.cleanUpAt !== undefined);
    open();
    await vault.until(entity, ({ item }) => item.job === undefined);
    const cleaned = await entity.executeUpdate(messages.jobUpdates.cleanupTestFailover, request());
    await vault.until(entity, ({ item }) => item.drill === undefined);
    await save('testFailover', tested.jobId);
    await save('cleanupTestFailover', cleaned.jobId);
    await save('protect-vm-drill', entity.workflowId);
  });

  records('test failovers that end by themselves: one in time, and one that was terminated', async (vault, site) => {
    const entity = await vault.protect('db-01');
    const parameters = { cleanUpAfterSeconds: 600 };
    await entity.executeUpdate(messages.jobUpdates.testFailover, { args: [{ requestId: randomUUID(), parameters }] });
    await vault.until(entity, ({ item }) => item.lastDrill !== undefined, 30_000);
    site.fail('createTestVm', 'StoreUnreachable');
    const { jobId } = await entity.executeUpdate(messages.jobUpdates.testFailover, request());
    await vault.until(entity, ({ item }) => item.drill?.job?.retry !== undefined);
    await job(jobId).terminate('by hand');
    await vault.until(entity, ({ item }) => item.drill === undefined, 60_000);
    await save('testFailover-terminated', jobId);
    await save('protect-vm-drills-ended', entity.workflowId);
  });

  records('the board of a vault', async (vault, site) => {
    const workflowId = vaultBoardId(vault.vault);
    const { workflow } = time.env.client;
    await workflow.start('showVault', {
      ...{ workflowId, taskQueue: vault.workflowQueue, args: [{ vault: vault.vault }] },
    });
    await vault.pass(3);
    site.board = 'something else';
    await vault.pass(3);
    await save('show-vault', workflowId);
    await job(workflowId).terminate('it is recorded');
  });

  /** A planned failover that can't send the last changes: its source is off. */
  const shutDown = async (vault: TestVault, site: SimulatedSite) => {
    const entity = await vault.protect('db-01');
    site.fail('cutAndShip', 'StoreUnreachable');
    const { jobId } = await entity.executeUpdate(messages.jobUpdates.plannedFailover, request());
    await vault.until(entity, ({ item }) => item.job?.retry !== undefined);
    return { entity, jobId };
  };

  records('a job that is cancelled, undoes what it did on the ladder, and leaves some of it', async (vault, site) => {
    const { entity, jobId } = await shutDown(vault, site);
    const cancel = () => job(jobId).signal(messages.cancelJobSignal, { reason: 'not today' });
    site.fail('startVm', 'InvalidVmState', 1);
    await cancel();
    await vault.until(entity, ({ item }) => item.job?.retry?.failure.code === 'InvalidVmState');
    site.heal('cutAndShip');
    await cancel();
    await vault.until(entity, ({ item }) => item.job === undefined);
    await entity.executeUpdate(messages.retryUpdate, request());
    await vault.until(entity, ({ item }) => item.leftovers === undefined);
    await save('plannedFailover-cancelled', jobId);
    await save('protect-vm-leftover', entity.workflowId);
  });

  records('a job that is terminated, and one that comes after it', async (vault, site) => {
    const { entity, jobId } = await shutDown(vault, site);
    await job(jobId).terminate('by hand');
    await entity.executeUpdate(messages.retryUpdate, request()).catch(() => undefined);
    site.heal('cutAndShip');
    await vault.until(entity, ({ item }) => item.job === undefined, 60_000);
    await entity.executeUpdate(messages.jobUpdates.plannedFailover, request());
    await vault.until(entity, ({ item }) => item.phase === 'FailedOver');
    await save('plannedFailover-terminated', jobId);
    await save('protect-vm-job-gone', entity.workflowId);
  });

  records('a job that fails', async (vault, site) => {
    const entity = await vault.protect('db-01');
    site.fail('digestForVerification', 'ResyncRequired', 1);
    const { jobId } = await entity.executeUpdate(messages.jobUpdates.verifyReplica, request());
    await vault.until(entity, ({ item }) => item.recentJobs.at(-1)?.id === jobId);
    await save('verifyReplica-failed', jobId);
  });

  records('a job that waits for a person when its entity is terminated', async (vault, site) => {
    const entity = await vault.startEntity('db-01');
    site.fail('copyDisk', 'DiskMissing');
    await entity.executeUpdate(messages.jobUpdates.enableProtection, request());
    const { item } = await vault.until(entity, (view) => view.item.job?.retry !== undefined);
    await entity.terminate('by hand');
    await job(item.job!.jobId)
      .result()
      .catch(() => undefined);
    await save('initialReplication-entity-gone', item.job!.jobId);
  });

  records('a plan run that is terminated, and the job that it holds', async (vault, site) => {
    const entity = await vault.protect('db-01');
    const other = await vault.protect('db-02');
    site.fail('shutDownVm', 'HypervisorUnreachable');
    const run = await vault.startPlan('terminated', [
      { name: 'first', vms: ['db-01'] },
      { name: 'second', vms: ['db-02'] },
    ]);
    // Shutting down goes from the last group to the first, which is held meanwhile.
    await vault.until(other, ({ item }) => item.job?.retry !== undefined);
    const { item } = await vault.view('db-01');
    await run.terminate('by hand');
    site.heal('shutDownVm');
    await vault.until(entity, (view) => view.item.job === undefined, 10_000);
    await save('plannedFailover-plan-gone', item.job!.jobId);
    await save('run-recovery-plan-terminated', run.workflowId);
  });

  records('a plan run that stops, as a job of it was terminated', async (vault, site) => {
    await vault.protect('db-01');
    await vault.protect('db-02');
    site.fail('cutAndShip', 'NetworkError');
    const run = await vault.startPlan('stopped', [{ name: 'all', vms: ['db-01', 'db-02'] }]);
    const jobOf = async (vm: string) => (await vault.view(vm)).item.job!.jobId;
    for (const vm of ['db-01', 'db-02'])
      await vault.until(vault.entity(vm), ({ item }) => item.job?.retry !== undefined);
    const stopped = await jobOf('db-02');
    await job(await jobOf('db-01')).terminate('by hand');
    await run.result().catch(() => undefined);
    await vault.until(vault.entity('db-02'), ({ item }) => item.job === undefined);
    await save('run-recovery-plan-stopped', run.workflowId);
    await save('plannedFailover-stopped', stopped);
  });

  test('runs that others continued as', async () => {
    const { vault } = real.setUp({ continueAsNewAfterEvents: 40 });
    const client = real.env.client.workflow;
    await vault.run(async () => {
      const entity = await vault.protect('db-01', 200);
      const { item } = await vault.view('db-01');
      await write(client, 'initialReplication-continued', item.recentJobs[1]!.id);
      const isContinued = async () =>
        (await client.getHandle(entity.workflowId).describe()).runId !== entity.firstExecutionRunId;
      while (!(await isContinued()) || (await vault.view('db-01')).item.applied!.sequence < 12) {
        await vault.entity('db-01').executeUpdate(messages.syncUpdate, request());
        await real.env.sleep(200);
      }
      await write(client, 'protect-vm-continued', entity.workflowId);
    });
  });
});
