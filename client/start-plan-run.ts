/** Starts a run of a recovery plan in such a way that it is visible immediately, even before a worker has taken it. */
import type { Client } from '@temporalio/client';
import { planRunId, taskQueues } from '../domain/ids.js';
import { planSummary } from '../domain/plan.js';
import { newPlanRun, type PlanRun } from '../domain/plan-run.js';
import { toMs } from '../domain/time.js';
import * as messages from '../workflows/messages.js';
import { searchAttributes } from '../workflows/search-attributes.js';
import { azureWorkerAway } from './answered.js';
import { isWorkflowWorkerAway } from './worker-away.js';

type RunRecoveryPlan = (input: messages.RunRecoveryPlanInput) => Promise<PlanRun>;

/**
 * @returns the ID of the run.
 * @throws UnreachableError without a worker: the run would fail over the VMs unexpectedly whenever a worker starts.
 */
export async function startPlanRun(client: Client, input: messages.RunRecoveryPlanInput): Promise<string> {
  const { vault, plan, type } = input;
  const startedAt = new Date().toISOString();
  const id = planRunId(vault, plan.name, startedAt);
  const taskQueue = taskQueues.azure(vault);
  if (await isWorkflowWorkerAway(client, taskQueue, toMs(startedAt))) {
    throw azureWorkerAway(`Nothing was started: the Azure worker of vault ${vault}`);
  }
  const { vault: vaultKey, jobKind, jobState, planRun } = searchAttributes;
  await client.workflow.start<RunRecoveryPlan>('runRecoveryPlan', {
    workflowId: id,
    taskQueue,
    staticSummary: planSummary(plan, type),
    args: [{ ...input, tuning: messages.tuningOfNextRun(undefined) }],
    // The same state that the workflow publishes once it has begun.
    memo: { planRun: newPlanRun(id, input, 'waiting for a worker', startedAt) } satisfies Partial<
      Record<messages.MemoKey, unknown>
    >,
    typedSearchAttributes: [
      { key: vaultKey, value: vault },
      { key: jobKind, value: 'recoveryPlan' },
      { key: jobState, value: 'InProgress' },
      { key: planRun, value: id },
    ],
  });
  return id;
}
