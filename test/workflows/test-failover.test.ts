import { randomUUID } from 'node:crypto';
import { expect, it } from 'vitest';
import type { JobParameters } from '../../domain/job.js';
import { policySchema } from '../../domain/policy.js';
import { toMs } from '../../domain/time.js';
import * as messages from '../../workflows/messages.js';
import { skippedTime } from './skipped-time.js';
import type { TestVault } from './test-vault.js';

const time = skippedTime();
const { setUp } = time;
const LONG = { timeout: 120_000 };
type Request = [messages.JobOperationRequest];
const request = (parameters: JobParameters = {}) => ({ args: [{ requestId: randomUUID(), parameters }] as Request });

/** A protected VM, and what its test failover can be asked for. */
async function protectedVm(vault: TestVault, vm: string) {
  const first = await vault.protect(vm);
  // Whichever run of it is alive.
  const entity = vault.entity(vm);
  return {
    first,
    entity,
    test: (parameters?: JobParameters) =>
      entity.executeUpdate(messages.jobUpdates.testFailover, request(parameters)).then(({ jobId }) => jobId),
    cleanUp: (parameters?: JobParameters) =>
      entity.executeUpdate(messages.jobUpdates.cleanupTestFailover, request(parameters)).then(({ jobId }) => jobId),
    standing: () => vault.until(entity, ({ item }) => item.drill?.cleanUpAt !== undefined),
    cleanedUp: (stepMs?: number) => vault.until(entity, ({ item }) => item.drill === undefined, stepMs),
  };
}

it('boots a test VM while cycles go on, and is cleaned up with notes', LONG, async () => {
  const { site, vault } = setUp();
  await vault.run(async () => {
    const { entity, test, cleanUp, standing, cleanedUp } = await protectedVm(vault, 'db-01');
    const jobId = await test({ recoveryPoint: 'before-upgrade', cleanUpAfterSeconds: 7_200, reason: 'drill of March' });
    const { item } = await standing();
    const { drill } = item;
    const job = await vault.job(jobId);
    expect(drill).toMatchObject({
      testVm: 'db-01-test',
      reason: 'drill of March',
      tested: { recoveryPoint: { id: 'before-upgrade' }, network: 'db-01-test', booted: true, passed: true },
    });
    expect(toMs(drill!.cleanUpAt!) - toMs(job.endedAt!)).toBeLessThan(7_200_000 + 60_000);
    expect(toMs(drill!.cleanUpAt!) - toMs(job.endedAt!)).toBeGreaterThanOrEqual(7_200_000);
    expect(job.tasks.map(({ name, state }) => [name, state])).toEqual(
      [
        'Prerequisites check for test failover',
        'Starting test failover',
        'Creating test virtual machine',
        'Start the virtual machine',
        'Checking the test virtual machine',
      ].map((name) => [name, 'Succeeded']),
    );
    expect(job.result).toMatchObject({ testVm: 'db-01-test', booted: true, passed: true, network: 'db-01-test' });

    const before = item.applied!.sequence;
    const later = await vault.until(entity, (view) => view.item.applied!.sequence > before + 1, 60_000);
    expect(later).toMatchObject({ health: 'Normal', item: { phase: 'Protected', drill: { testVm: 'db-01-test' } } });
    await expect(test()).rejects.toMatchObject({
      cause: { message: expect.stringContaining('farshore cleanup-test-failover db-01 --wait') },
    });
    await expect(entity.executeUpdate(messages.jobUpdates.disableProtection, request())).rejects.toMatchObject({
      cause: { message: expect.stringContaining('farshore cleanup-test-failover db-01 --wait') },
    });

    await cleanUp({ notes: 'all services answered' });
    const done = await cleanedUp();
    expect(done.item.lastDrill).toEqual({
      at: drill!.since,
      recoveryPoint: drill!.tested!.recoveryPoint,
      outcome: 'passed',
      notes: 'all services answered',
    });
    expect(site.testVmRuns).toBe(false);
    const order = site.calls.map(({ name }) => name);
    expect(order.indexOf('endTestFailover')).toBeLessThan(order.indexOf('deleteTestVm'));
    expect(order.indexOf('deleteTestVm')).toBeLessThan(order.indexOf('releaseTestPoint'));
    await expect(cleanUp()).rejects.toMatchObject({
      cause: { message: expect.stringContaining('there is no test failover to clean up') },
    });
    await entity.executeUpdate(messages.jobUpdates.disableProtection, request());
    await entity.result();
  });
});

it('a guest that does not boot is kept for inspection, and the test has not passed', LONG, async () => {
  const { site, vault } = setUp();
  await vault.run(async () => {
    site.testProblem = 'not booted: no kernel';
    const { test, cleanUp, standing, cleanedUp } = await protectedVm(vault, 'db-01');
    const jobId = await test();
    const { item } = await standing();
    expect(item.drill!.tested).toMatchObject({ booted: false, passed: false, problem: 'not booted: no kernel' });
    const job = await vault.job(jobId);
    expect(job.state).toBe('Succeeded');
    expect(job.tasks.at(-1)).toMatchObject({ state: 'Failed', reason: 'not booted: no kernel' });
    expect(site.testVmRuns).toBe(true);
    await cleanUp();
    const { lastDrill } = (await cleanedUp()).item;
    expect(lastDrill).toMatchObject({ outcome: 'notPassed', reason: 'not booted: no kernel' });
  });
});

it('cleans up by itself when its time is over, across runs of the entity', LONG, async () => {
  const policy = policySchema.parse({ name: 'often', copyFrequency: '30s', resynchronizationWindow: 'always' });
  const { site, vault } = setUp(policy, { continueAsNewAfterEvents: 200 });
  await vault.run(async () => {
    const { first, test, standing, cleanedUp } = await protectedVm(vault, 'db-01');
    await test({ cleanUpAfterSeconds: 3_600 });
    const { item } = await standing();
    const done = await cleanedUp(60_000);
    const job = done.item.recentJobs.findLast(({ kind }) => kind === 'cleanupTestFailover')!;
    expect(job.outcome).toBe('succeeded');
    expect(toMs(job.endedAt)).toBeGreaterThanOrEqual(toMs(item.drill!.cleanUpAt!));
    expect(done.item.lastDrill).toMatchObject({ outcome: 'passed', notes: 'its time was over' });
    expect(site.testVmRuns).toBe(false);
    const { runId } = await vault.entity('db-01').describe();
    expect(runId).not.toBe(first.firstExecutionRunId);
  });
});

it('runs beside a verification, and is reported to both', LONG, async () => {
  const { site, vault } = setUp();
  await vault.run(async () => {
    const { entity, test, standing } = await protectedVm(vault, 'db-01');
    await vault.until(entity, ({ item }) => item.applied?.sequence === 2);
    const open = site.gate('digestForVerification');
    const verified = await entity.executeUpdate(messages.jobUpdates.verifyReplica, request());
    await vault.until(entity, () => site.called('digestForVerification').length === 1);
    await test();
    const { item } = await standing();
    expect(item.job).toMatchObject({ jobId: verified.jobId });
    open();
    const done = await vault.until(entity, (view) => view.item.job === undefined);
    expect(done.item.recentJobs.at(-1)).toMatchObject({ kind: 'verifyReplica', outcome: 'succeeded' });
    expect(done.item.drill?.tested).toMatchObject({ booted: true });
  });
});

it('what a cancelled or failed one has made is cleaned up at once', LONG, async () => {
  const { site, vault } = setUp();
  await vault.run(async () => {
    const { entity, test, cleanedUp } = await protectedVm(vault, 'db-01');
    site.fail('startTestVm', 'InvalidVmState');
    const jobId = await test();
    const waiting = await vault.until(entity, ({ item }) => item.drill?.job?.retry !== undefined);
    // The test does not touch the replication of the VM.
    expect(waiting).toMatchObject({ health: 'Normal', operations: { retry: { allowed: true } } });
    const retried = await entity.executeUpdate(messages.retryUpdate, request());
    expect(retried).toEqual({ retried: 'Test failover' });
    await vault.until(entity, () => site.called('startTestVm').length === 2);
    await time.env.client.workflow.getHandle(jobId).signal(messages.cancelJobSignal, { reason: 'not today' });
    const { item } = await cleanedUp();
    expect(item.recentJobs.slice(-2)).toMatchObject([
      { kind: 'testFailover', outcome: 'cancelled' },
      { kind: 'cleanupTestFailover', outcome: 'succeeded' },
    ]);
    expect(item.lastDrill).toMatchObject({ outcome: 'notPassed', reason: 'it was cancelled' });
    expect(site.called('releaseTestPoint')).toHaveLength(1);
  });
});

it('one that is refused by its prerequisites leaves nothing to clean up', LONG, async () => {
  const { site, vault } = setUp();
  await vault.run(async () => {
    const { test, entity } = await protectedVm(vault, 'db-01');
    const jobId = await test({ recoveryPoint: 'gone' });
    const { item } = await vault.until(entity, (view) => view.item.lastDrill !== undefined);
    expect(item.drill).toBeUndefined();
    expect(item.recentJobs.at(-1)).toMatchObject({ id: jobId, outcome: 'failed' });
    expect(item.lastDrill!.reason).toContain('there is no such point');
    expect(site.called('beginTestFailover')).toEqual([]);
  });
});

it('one that was terminated from outside is noticed, and what it may have made is cleaned up', LONG, async () => {
  const { site, vault } = setUp();
  await vault.run(async () => {
    const { test, entity, cleanedUp } = await protectedVm(vault, 'db-01');
    site.fail('createTestVm', 'StoreUnreachable');
    const jobId = await test();
    await vault.until(entity, ({ item }) => item.drill?.job?.retry !== undefined);
    await time.env.client.workflow.getHandle(jobId).terminate('by hand');
    const { item } = await cleanedUp(60_000);
    expect(item.lastDrill).toMatchObject({ outcome: 'notPassed', reason: 'The job was closed from outside' });
    expect(item.recentJobs.at(-1)).toMatchObject({ kind: 'cleanupTestFailover', outcome: 'succeeded' });
  });
});

it('a real failover goes first and leaves the test VM, which can be cleaned up after the commit', LONG, async () => {
  const { site, vault } = setUp();
  await vault.run(async () => {
    const { test, cleanUp, entity, standing, cleanedUp } = await protectedVm(vault, 'db-01');
    await test();
    await standing();
    await entity.executeUpdate(messages.jobUpdates.unplannedFailover, request());
    const failedOver = await vault.until(entity, ({ item }) => item.phase === 'FailedOver' && !item.sourceFence);
    expect(failedOver.item.drill?.tested).toMatchObject({ booted: true });
    expect(site.testVmRuns).toBe(true);
    await entity.executeUpdate(messages.jobUpdates.commitFailover, request());
    await vault.until(entity, ({ item }) => item.phase === 'Committed');
    await cleanUp();
    const { item } = await cleanedUp();
    expect(item).toMatchObject({ phase: 'Committed', lastDrill: { outcome: 'passed' } });
  });
});

it('a real failover does not wait for a test failover that is just beginning', LONG, async () => {
  const { site, vault } = setUp();
  await vault.run(async () => {
    const { test, entity, standing } = await protectedVm(vault, 'db-01');
    const open = site.gate('createTestVm');
    await test();
    await vault.until(entity, () => site.called('createTestVm').length === 1);
    await entity.executeUpdate(messages.jobUpdates.plannedFailover, request());
    await vault.until(entity, ({ item }) => item.phase === 'FailedOver');
    open();
    expect((await standing()).item).toMatchObject({ phase: 'FailedOver', drill: { tested: { booted: true } } });
  });
});
