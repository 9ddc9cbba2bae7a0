/** On a real server: it alone continues workflows as new while messages arrive, as in production. */
import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { answered } from '../../client/answered.js';
import { jobDefinition, jobKinds, titleOf, type JobKind, type JobOperation } from '../../domain/jobs/known-jobs.js';
import type { ProtectedItem } from '../../domain/protected-item.js';
import { connectTarget } from '../../temporal/connection.js';
import * as messages from '../../workflows/messages.js';
import { realTime } from './real-time.js';
import type { ActivityName } from './simulated-site.js';

const real = realTime();

/** Few enough that a job continues as new several times, enough that every run comes further. */
const tuning = { continueAsNewAfterEvents: 40 };
const POLL_MS = 200;
/** A task of a workflow ends sooner, mostly. */
const PAUSE_MS = 50;
const request = () => ({ args: [{ requestId: randomUUID() }] as [messages.OperationRequest] });

const runIdOf = async (workflowId: string) => (await real.env.client.workflow.getHandle(workflowId).describe()).runId;

/** Lets the history of a workflow grow by news that change nothing, until another run of it goes on. */
async function untilContinued(workflowId: string, nothing: () => Promise<void>): Promise<void> {
  const before = await runIdOf(workflowId);
  for (let sent = 0; sent < 100; sent += 1) {
    if ((await runIdOf(workflowId)) !== before) return;
    await nothing();
    // The server takes no continuation from a task that a message has overtaken.
    await sleep(PAUSE_MS);
  }
  throw new Error(`${workflowId} did not continue as new`);
}
const entityContinues = (id: string) =>
  untilContinued(id, () =>
    real.env.client.workflow.getHandle(id).signal(messages.jobProgressedSignal, { jobId: 'job/of/nobody' }),
  );
const jobContinues = (id: string) =>
  untilContinued(id, () => real.env.client.workflow.getHandle(id).signal(messages.stillThereSignal));

/** Those that own the data path; those beside it are below. */
const exclusive = jobKinds.filter((kind) => !jobDefinition(kind).beside);

/** A step of each job that fails, so that the job waits in the middle of its work. */
const failingStep: Record<JobKind, ActivityName> = {
  enableProtection: 'prepareReplica',
  initialReplication: 'copyDisk',
  finalizeProtection: 'finalizeReplica',
  resynchronize: 'beginResync',
  plannedFailover: 'startFailover',
  unplannedFailover: 'startUnplannedFailover',
  changeRecoveryPoint: 'createReplicaVmAt',
  cancelFailover: 'endFailover',
  commitFailover: 'commitFailover',
  failback: 'sendSnapshot',
  reverseReplicate: 'identifyTarget',
  cancelFailback: 'returnToRecovery',
  disableProtection: 'removeReplica',
  verifyReplica: 'digestForVerification',
  testFailover: 'createTestVm',
  cleanupTestFailover: 'deleteTestVm',
};

/** The state in which a job of the way back can be requested. */
const committedFor = (kind: JobKind): Partial<ProtectedItem> | undefined =>
  kind === 'cancelFailback'
    ? { phase: 'FailedBack', epoch: 4, activeSide: 'primary' }
    : kind === 'failback' || kind === 'reverseReplicate'
      ? { phase: 'Committed', epoch: 2, activeSide: kind === 'failback' ? 'recovery' : 'primary' }
      : undefined;

describe('entity and job continue as new', () => {
  it.concurrent.each(exclusive)('in the middle of %s, and lose nothing', async (kind) => {
    const { site, vault } = real.setUp(tuning);
    // Jobs are named by their VM, and all of these begin at once.
    const vm = `vm-${kind}`;
    await vault.run(async () => {
      const later = !['enableProtection', 'initialReplication', 'finalizeProtection'].includes(kind);
      const committed = committedFor(kind);
      const entity = later && !committed ? await vault.protect(vm, POLL_MS) : await vault.startEntity(vm, committed);
      const current = vault.entity(vm);
      const heard = <T>(call: () => Promise<T>) => answered(real.env.connection, connectTarget(), vault.vault, call);
      if (['commitFailover', 'changeRecoveryPoint', 'cancelFailover'].includes(kind)) {
        const failover = request();
        await heard(() => current.executeUpdate(messages.jobUpdates.plannedFailover, failover));
        await vault.until(entity, ({ item }) => item.phase === 'FailedOver', POLL_MS);
      }
      site.fail(failingStep[kind], 'StoreUnreachable');
      const requestId = randomUUID();
      const ask = (): Promise<{ jobId?: string }> => {
        if (kind === 'resynchronize') {
          return current.executeUpdate(messages.resynchronizeUpdate, { args: [{ requestId, now: true }] });
        }
        const update = later ? messages.jobUpdates[kind as JobOperation] : messages.jobUpdates.enableProtection;
        // Otherwise it would wait for an operator.
        const parameters = kind === 'failback' && { parameters: { synchronize: 'during' as const } };
        return current.executeUpdate(update, { args: [{ requestId, ...parameters }] });
      };
      const accepted = await heard(ask);
      const before = await vault.until(
        entity,
        ({ item }) => item.job?.kind === kind && item.job.retry !== undefined,
        POLL_MS,
      );
      const { jobId } = before.item.job!;

      await entityContinues(entity.workflowId);
      await jobContinues(jobId);
      const after = await vault.view(vm);
      // Where the ladder stood, and what was asked and answered before.
      expect(after.item.job).toMatchObject({ jobId, task: before.item.job!.task });
      expect(after.item).toMatchObject({ answered: before.item.answered, nextSequence: before.item.nextSequence });
      expect(after.item.retry).toEqual(before.item.retry);
      expect((await vault.job(jobId)).retry).toMatchObject({ attempt: after.item.job!.retry!.attempt });
      expect(await heard(ask)).toEqual(accepted);

      const failed = site.called(failingStep[kind]).length;
      site.heal(failingStep[kind]);
      const retry = request();
      await heard(() => current.executeUpdate(messages.retryUpdate, retry));
      const done = await vault.until(entity, ({ item }) => item.recentJobs.some((job) => job.kind === kind), POLL_MS);
      expect(done.item.recentJobs.find((job) => job.kind === kind)).toMatchObject({ id: jobId, outcome: 'succeeded' });
      // Nothing that was done is done again.
      const rest = kind === 'initialReplication' ? 8 : kind === 'verifyReplica' ? 2 : 1;
      const calls = site.called(failingStep[kind]).length;
      // A resynchronization follows and takes this step, too.
      expect(kind === 'reverseReplicate' ? [failed + 1, failed + 2] : [failed + rest]).toContain(calls);
    });
  });

  it('in the middle of a test failover and of its clean-up, beside the cycles, and lose nothing', async () => {
    const { site, vault } = real.setUp(tuning);
    await vault.run(async () => {
      const vm = 'vm-drill';
      const entity = await vault.protect(vm, POLL_MS);
      const current = vault.entity(vm);
      const heard = <T>(call: () => Promise<T>) => answered(real.env.connection, connectTarget(), vault.vault, call);
      for (const kind of ['testFailover', 'cleanupTestFailover'] as const) {
        site.fail(failingStep[kind], 'StoreUnreachable');
        const asked = request();
        const ask = () => heard(() => current.executeUpdate(messages.jobUpdates[kind], asked));
        const { jobId } = await ask();
        const before = await vault.until(entity, ({ item }) => item.drill?.job?.retry !== undefined, POLL_MS);
        expect(before.item.drill!.job).toMatchObject({ jobId, kind });
        await entityContinues(entity.workflowId);
        await jobContinues(jobId);
        const after = await vault.view(vm);
        expect(after.item.drill).toMatchObject({ testVm: `${vm}-test`, job: { jobId, retry: { attempt: 1 } } });
        expect(await ask()).toEqual({ jobId });
        const failed = site.called(failingStep[kind]).length;
        site.heal(failingStep[kind]);
        const retry = request();
        expect(await heard(() => current.executeUpdate(messages.retryUpdate, retry))).toMatchObject({
          retried: titleOf(kind),
        });
        const done = await vault.until(entity, ({ item }) => item.recentJobs.some((job) => job.id === jobId), POLL_MS);
        expect(done.item.recentJobs.find((job) => job.id === jobId)).toMatchObject({ kind, outcome: 'succeeded' });
        expect(site.called(failingStep[kind])).toHaveLength(failed + 1);
      }
      expect((await vault.view(vm)).item).toMatchObject({ phase: 'Protected', lastDrill: { outcome: 'passed' } });
    });
  });
});
