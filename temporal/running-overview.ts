/**
 * Everything that is running in a vault, about a second old: one request to the server's list of workflows, however
 * many VMs there are. Its rows contain the memos that workflows leave.
 */
import type { Client } from '@temporalio/client';
import type { Job } from '../domain/job.js';
import type { ProtectedItem } from '../domain/protected-item.js';
import type { PlanRun } from '../domain/plan-run.js';

export interface Overview {
  /** By name of the VM. */
  readonly items: ReadonlyMap<string, ProtectedItem>;
  /** Oldest first. */
  readonly jobs: readonly Job[];
  readonly planRuns: readonly PlanRun[];
}

/** Rows in one answer; further rows are fetched separately. */
const PAGE_SIZE = 500;

/** The query for everything that is running in a vault. */
export const runningQuery = (vault: string): string => `FarshoreVault = '${vault}' AND ExecutionStatus = 'Running'`;

/** @throws the errors of the client. */
export async function runningOverview({ workflow }: Client, vault: string): Promise<Overview> {
  const items = new Map<string, ProtectedItem>();
  const jobs: Job[] = [];
  const planRuns: PlanRun[] = [];
  for await (const { memo } of workflow.list({ query: runningQuery(vault), pageSize: PAGE_SIZE })) {
    const item = memo?.['protectedItem'] as ProtectedItem | undefined;
    const job = memo?.['job'] as Job | undefined;
    const planRun = memo?.['planRun'] as PlanRun | undefined;
    if (item) items.set(item.vm, item);
    if (job?.state === 'InProgress') jobs.push(job);
    if (planRun?.state === 'InProgress') planRuns.push(planRun);
  }
  return { items, jobs: jobs.toSorted(byStart), planRuns: planRuns.toSorted(byStart) };
}

const byStart = (a: { startedAt: string }, b: { startedAt: string }) => a.startedAt.localeCompare(b.startedAt);
