/**
 * A cycle that is applied where the workflow runs keeps its task open, and the SDK begins another one to wait in when that
 * takes too long. Messages come in between, the next cycle follows at once, and the run is long enough to continue as new at
 * one of these instants: every history has to replay.
 *
 * On a real server, and with a time limit that lets it happen: the workflow's own is shorter, so that a worker has to stand
 * still for seconds before it comes to this.
 */
import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { historyToJSON } from '@temporalio/common/lib/proto-utils.js';
import { expect, it } from 'vitest';
import { answered } from '../../client/answered.js';
import type { ProtectedItem } from '../../domain/protected-item.js';
import { toIso } from '../../domain/time.js';
import { connectTarget } from '../../temporal/connection.js';
import * as messages from '../../workflows/messages.js';
import { realTime } from '../workflows/real-time.js';
import { SimulatedSite } from '../workflows/simulated-site.js';
import { TestVault } from '../workflows/test-vault.js';
import { WorkflowWorker, workflowBundle } from '../workflows/workflow-worker.js';
import { replay, type History } from './replayed.js';

const real = realTime();

const PROTECTED: Partial<ProtectedItem> = { phase: 'Protected', epoch: 1, nextSequence: 3, begunSequence: 2 };
/** Around the length at which the applying begins and ends, events. */
const LIMITS = [16, 19, 21, 23, 25, 28, 32, 40];
const DUE_MS = 1_000;
/** The SDK begins another task 8 s after the first has begun. */
const APPLYING_MS = 11_000;
const REST_MS = 3_000;

const request = () => ({ args: [{ requestId: randomUUID() }] as [messages.SyncRequest] });

async function live(workflows: WorkflowWorker, continueAsNewAfterEvents: number): Promise<History[]> {
  const site = new SimulatedSite();
  const vault = new TestVault(real.env, site, { continueAsNewAfterEvents }, undefined, workflows);
  const found: History[] = [];
  await vault.run(async () => {
    const open = site.gate('applyCycle');
    const entity = await vault.startEntity('db-01', { ...PROTECTED, cycleDueAt: toIso(Date.now() + DUE_MS) });
    await sleep(DUE_MS + APPLYING_MS / 3);
    const asked = request();
    // A task that this message overtakes ends with an answer that nobody has heard it.
    const synced = answered(real.env.connection, connectTarget(), vault.vault, () =>
      entity.executeUpdate(messages.syncUpdate, asked),
    );
    // It comes to the task that waits, which has nothing to do else.
    if (continueAsNewAfterEvents % 2 === 0) await entity.signal(messages.hostNewsSignal, {});
    await sleep((APPLYING_MS * 2) / 3);
    open();
    await synced;
    await sleep(REST_MS);
    let runId: string | undefined = undefined;
    do {
      const history = await real.env.client.workflow.getHandle(entity.workflowId, runId).fetchHistory();
      found.unshift({ workflowId: entity.workflowId, history: JSON.parse(historyToJSON(history)) });
      runId = history.events![0]!.workflowExecutionStartedEventAttributes!.continuedExecutionRunId || undefined;
    } while (runId !== undefined);
  });
  return found;
}

/** From the sending of the cycle to its having been applied there was more than one task. */
function hasWaitingTask({ history }: History): boolean {
  const types = (history as { readonly events: readonly { readonly eventType: string }[] }).events.map(
    ({ eventType }) => eventType,
  );
  const applied = types.indexOf('EVENT_TYPE_MARKER_RECORDED');
  const sent = types.lastIndexOf('EVENT_TYPE_ACTIVITY_TASK_COMPLETED', applied);
  return (
    applied >= 0 &&
    types.slice(sent, applied).filter((type) => type === 'EVENT_TYPE_WORKFLOW_TASK_COMPLETED').length > 1
  );
}

it('a cycle that is applied for longer than a task lasts leaves histories that replay', async () => {
  const { code } = await workflowBundle();
  const patient = code.replace("scheduleToCloseTimeout: '3 seconds'", "scheduleToCloseTimeout: '1 minute'");
  expect(patient).not.toBe(code);
  const workflows = await WorkflowWorker.start(real.env, { code: patient });
  try {
    const found = (await Promise.all(LIMITS.map((limit) => live(workflows, limit)))).flat();
    expect(await replay({ code: patient }, found)).toEqual([]);
    expect(found.filter(hasWaitingTask).length).toBeGreaterThan(0);
    expect(found.length).toBeGreaterThan(LIMITS.length);
  } finally {
    await workflows.stop();
  }
});
