/**
 * The state that a workflow has left with the server in its memo. Workflows are never queried: the answer would need a
 * worker, and a query that reaches a worker too early makes its memory differ from the history (ARCHITECTURE.md).
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Client, WorkflowExecutionDescription } from '@temporalio/client';
import type { MemoKey } from '../workflows/messages.js';
import { azureWorkerAway } from './answered.js';

export interface Found<T> {
  /** Undefined if the workflow is of another kind, or was closed before its first task was done. */
  readonly state: T | undefined;
  readonly status: WorkflowExecutionDescription['status']['name'];
}

/**
 * The first task of a run, which publishes the state, takes a moment. If it takes longer than this, the worker is
 * reported as down, ms.
 */
const FIRST_TASK_MS = 20_000;
const POLL_MS = 100;

/** @throws WorkflowNotFoundError; UnreachableError if no worker has begun the workflow. */
export async function workflowState<T>(client: Client, id: string, key: MemoKey): Promise<Found<T>> {
  const giveUpAt = performance.now() + FIRST_TASK_MS;
  for (;;) {
    const { memo, status, type } = await client.workflow.getHandle(id).describe();
    const state = memo?.[key] as T | undefined;
    if (state !== undefined || status.name !== 'RUNNING' || !isOf(type, key)) return { state, status: status.name };
    if (performance.now() > giveUpAt) {
      throw azureWorkerAway(`${id} has not begun: the Azure worker`);
    }
    await sleep(POLL_MS);
  }
}

/** All other workflow types are jobs. */
const isOf = (type: string, key: MemoKey): boolean => key === (workflowKinds[type] ?? 'job');

const workflowKinds: Readonly<Record<string, MemoKey | 'none'>> = {
  protectVm: 'protectedItem',
  runRecoveryPlan: 'planRun',
  hostWatch: 'none',
};
