/**
 * A refused update leaves no event by itself, but now and then its task stays in the history: without a command, as nothing
 * came of it. A replay goes through such a task together with the one before, if that issued no command either, and what is
 * read of the task there, as the history's length, is what it was in the later one. On a server that keeps them all.
 */
import proto from '@temporalio/proto';
import { historyToJSON } from '@temporalio/common/lib/proto-utils.js';
import type { WorkflowHandle } from '@temporalio/client';
import { expect, it } from 'vitest';
import { toFailure } from '../../domain/errors.js';
import { toIso } from '../../domain/time.js';
import type { protectVm } from '../../workflows/index.js';
import * as messages from '../../workflows/messages.js';
import { realTime } from '../workflows/real-time.js';
import { workflowBundle } from '../workflows/workflow-worker.js';
import { replay } from './replayed.js';

// However few events the task of a refused update has handed out, it stays.
const real = realTime({ dynamicConfig: { 'history.discardSpeculativeWorkflowTaskMaximumEventsCount': -1 } });

const { EventType } = proto.temporal.api.enums.v1;
type Entity = WorkflowHandle<typeof protectVm>;

const LIMIT = 40;
/** Of a signal: itself, and its task's three. */
const OF_SIGNAL = 4;
/** Of the task of an update that is refused. */
const OF_REFUSED = 3;

const PATIENCE = { timeout: 30_000 };

const lengthOf = async (entity: Entity) => (await entity.describe()).historyLength;
const typesOf = async (entity: Entity) => (await entity.fetchHistory()).events!.map(({ eventType }) => eventType);

/** Tells it what is of no consequence, and waits until it has heard it. */
async function signalled(entity: Entity): Promise<void> {
  const before = await lengthOf(entity);
  await entity.signal(messages.jobProgressedSignal, { jobId: 'job/of/nobody' });
  await expect.poll(() => lengthOf(entity), PATIENCE).toBe(before + OF_SIGNAL);
}

async function refused(entity: Entity): Promise<void> {
  const before = await lengthOf(entity);
  await expect(entity.executeUpdate(messages.syncUpdate, { args: [{ requestId: '' }] })).rejects.toThrow();
  expect(await lengthOf(entity)).toBe(before + OF_REFUSED);
}

it('a history whose limit is passed by a refused update replays', async () => {
  const { vault } = real.setUp({ continueAsNewAfterEvents: LIMIT });
  await vault.run(async () => {
    // It runs at the recovery site: nothing happens by itself.
    const started = await vault.startEntity('db-01', {
      ...{ phase: 'FailedOver', activeSide: 'recovery', epoch: 1, alertedHealth: 'Warning' },
    });
    const entity: Entity = real.env.client.workflow.getHandle(started.workflowId, started.firstExecutionRunId);
    await expect.poll(() => typesOf(entity), PATIENCE).toContain(EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED);
    // In the task of the signal the limit is not reached, and in the one of the update it is.
    while ((await lengthOf(entity)) + OF_SIGNAL + OF_REFUSED <= LIMIT) await refused(entity);
    await signalled(entity);
    await refused(entity);
    // Something that makes a difference.
    const failure = toFailure('HypervisorUnreachable', 'away');
    await entity.signal(messages.hostNewsSignal, { trouble: { failure, since: toIso(Date.now()) } });
    const lastOf = async () => (await typesOf(entity)).at(-1);
    await expect.poll(lastOf, PATIENCE).toBe(EventType.EVENT_TYPE_WORKFLOW_EXECUTION_CONTINUED_AS_NEW);
    const history: unknown = JSON.parse(historyToJSON(await entity.fetchHistory()));
    expect(await replay(await workflowBundle(), [{ workflowId: entity.workflowId, history }])).toEqual([]);
  });
});
