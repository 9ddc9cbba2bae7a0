/** Every attempt has a limit by its kind of work, and a heartbeat timeout: a dead worker is noticed, and a call that hangs ends. */
import { randomUUID } from 'node:crypto';
import proto from '@temporalio/proto';
import { expect, it } from 'vitest';
import * as messages from '../../workflows/messages.js';
import type { SimulatedSite } from './simulated-site.js';
import { skippedTime } from './skipped-time.js';
import type { TestVault } from './test-vault.js';
import { WorkflowWorker, workflowBundle } from './workflow-worker.js';

const time = skippedTime();
const { setUp } = time;
const { TimeoutType } = proto.temporal.api.enums.v1;

/** Limits of each activity that a workflow has called, in seconds: `[whole attempt, between heartbeats]`. */
async function limitsOf(workflowId: string): Promise<Record<string, [number, number]>> {
  const { events } = await time.env.client.workflow.getHandle(workflowId).fetchHistory();
  const seconds = (duration?: { seconds?: unknown } | null) => Number(duration?.seconds ?? 0);
  return Object.fromEntries(
    (events ?? []).flatMap(({ activityTaskScheduledEventAttributes: of }) =>
      of ? [[of.activityType!.name!, [seconds(of.startToCloseTimeout), seconds(of.heartbeatTimeout)]]] : [],
    ),
  );
}

/** How each call of a workflow ended that the server ended. */
async function timedOut(workflowId: string): Promise<(string | undefined)[]> {
  const { events } = await time.env.client.workflow.getHandle(workflowId).fetchHistory();
  return (events ?? []).flatMap(({ activityTaskTimedOutEventAttributes: of }) =>
    of ? [TimeoutType[of.failure!.timeoutFailureInfo!.timeoutType!]] : [],
  );
}

const CHECK = 'Prerequisites check for planned failover';
const MINUTE = 60;
const DAY = 24 * 60 * MINUTE;

it('changes of a VM have half an hour, moving its data a day, requests two minutes', async () => {
  const { vault } = setUp();
  await vault.run(async () => {
    const entity = await vault.protect('db-01');
    const { jobId } = await entity.executeUpdate(messages.jobUpdates.plannedFailover, {
      args: [{ requestId: randomUUID() }],
    });
    const { item } = await vault.until(entity, (view) => view.item.phase === 'FailedOver' && !view.item.job);
    const [enabling] = item.recentJobs;
    expect({ ...(await limitsOf(enabling!.id)), ...(await limitsOf(jobId)) }).toMatchObject({
      checkProtectable: [2 * MINUTE, 30],
      prepareReplica: [30 * MINUTE, 30],
      beginReplication: [30 * MINUTE, 30],
      checkFailoverSource: [2 * MINUTE, 30],
      shutDownVm: [30 * MINUTE, 30],
      cutAndShip: [DAY, 30],
      startFailover: [DAY, 30],
      startReplicaVm: [30 * MINUTE, 30],
      recordJob: [2 * MINUTE, 30],
    });
  });
});

/** Time does not skip while a call is under way: what only asks has less of it here. */
async function withShortLimit(work: (site: SimulatedSite, vault: TestVault) => Promise<void>): Promise<void> {
  const { code } = await workflowBundle();
  const shortened = code.replace("asks: '2 minutes'", "asks: '5 seconds'");
  expect(shortened).not.toBe(code);
  const workflows = await WorkflowWorker.start(time.env, { code: shortened });
  const { site, vault } = setUp(undefined, undefined, workflows);
  try {
    await vault.run(() => work(site, vault));
  } finally {
    await workflows.stop();
  }
}

it('a call that hangs is ended at its limit, reports that, and is made once more', () =>
  withShortLimit(async (site, vault) => {
    const entity = await vault.protect('db-01');
    // Its heartbeats go on.
    site.holdUntilCancelled('checkFailoverSource');
    const { jobId } = await entity.executeUpdate(messages.jobUpdates.plannedFailover, {
      args: [{ requestId: randomUUID() }],
    });
    const { item } = await vault.until(entity, (view) => view.item.job?.retry !== undefined);
    const message = expect.stringContaining('did not finish within its time limit');
    expect(item.job).toMatchObject({ task: CHECK, retry: { failure: { code: 'WorkerLost', message } } });
    site.letEnd('checkFailoverSource');
    await vault.until(entity, (view) => view.item.phase === 'FailedOver');
    expect(site.called('checkFailoverSource').length).toBeGreaterThan(1);
    expect(await timedOut(jobId)).toContain('TIMEOUT_TYPE_START_TO_CLOSE');
  }));

it('at a primary site that may be gone, the limits are shorter', async () => {
  const { site, vault } = setUp();
  await vault.run(async () => {
    const entity = await vault.protect('db-01');
    const { jobId } = await entity.executeUpdate(messages.jobUpdates.unplannedFailover, {
      args: [{ requestId: randomUUID(), parameters: { tryShutDown: true } }],
    });
    await vault.until(entity, (view) => view.item.phase === 'FailedOver' && !view.item.sourceFence);
    expect(await limitsOf(jobId)).toMatchObject({ shutDownVm: [5 * MINUTE, 30], cutAndShip: [10 * MINUTE, 30] });
    expect(await limitsOf(entity.workflowId)).toMatchObject({ fenceVm: [30 * MINUTE, 30] });
    expect(site.called('fenceVm')).toHaveLength(1);
  });
});
