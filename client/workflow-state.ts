/**
 * The state that a workflow has left with the server, as its memo. Workflows are never queried: the answer would need a
 * worker, and a query that a worker gets too early leads the workflow astray (ARCHITECTURE.md).
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Client, WorkflowExecutionDescription } from '@temporalio/client';
import type { MemoKey } from '../workflows/messages.js';
import { azureWorkerAway } from './answered.js';

export interface Found<T> {
  /** Undefined: it is a workflow of another kind, or one that was closed before its first task was done. */
  readonly state: T | undefined;
  readonly status: WorkflowExecutionDescription['status']['name'];
}

/** The first task of a run, which leaves the state, takes a moment; a worker that is away longer is told as such, ms. */
const FIRST_TASK_MS = 20_000;
const POLL_MS = 100;

/** @throws WorkflowNotFoundError; UnreachableError when no worker has begun it. */
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

/** Every other type is a job. */
const isOf = (type: string, key: MemoKey): boolean => key === (workflowKinds[type] ?? 'job');

const workflowKinds: Readonly<Record<string, MemoKey | 'none'>> = {
  protectVm: 'protectedItem',
  runRecoveryPlan: 'planRun',
  hostWatch: 'none',
};
