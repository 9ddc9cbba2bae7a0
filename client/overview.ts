/**
 * All that runs in a vault, as of about a second ago: one question to the server's list, however many VMs there are. Its
 * rows carry what workflows have left as their memo.
 */
import type { Job } from '../domain/job.js';
import type { ProtectedItem } from '../domain/protected-item.js';
import type { PlanRun } from '../workflows/messages.js';
import { UnreachableError } from './errors.js';
import type { Farshore } from './farshore.js';
import { isServerAway, isWorkerAway } from './grpc-status.js';
import { savedQuery } from './saved-queries.js';

export interface Overview {
  /** By name of the VM. */
  readonly items: ReadonlyMap<string, ProtectedItem>;
  /** The oldest first. */
  readonly jobs: readonly Job[];
  readonly planRuns: readonly PlanRun[];
}

/** Whoever watches is to learn soon that there is no answer, ms. */
const ANSWER_TIMEOUT_MS = 5_000;
/** Rows of an answer; more are fetched in further ones. */
const PAGE_SIZE = 500;

/** @throws UnreachableError */
export async function overviewOf({ temporal, site }: Farshore): Promise<Overview> {
  const { query } = savedQuery('vault', site.vault.name);
  const items = new Map<string, ProtectedItem>();
  const jobs: Job[] = [];
  const planRuns: PlanRun[] = [];
  try {
    await temporal.withDeadline(Date.now() + ANSWER_TIMEOUT_MS, async () => {
      for await (const { memo } of temporal.workflow.list({ query, pageSize: PAGE_SIZE })) {
        const item = memo?.['protectedItem'] as ProtectedItem | undefined;
        const job = memo?.['job'] as Job | undefined;
        const planRun = memo?.['planRun'] as PlanRun | undefined;
        if (item) items.set(item.vm, item);
        if (job?.state === 'InProgress') jobs.push(job);
        if (planRun?.state === 'InProgress') planRuns.push(planRun);
      }
    });
  } catch (error) {
    if (!isServerAway(error) && !isWorkerAway(error)) throw error;
    throw new UnreachableError('Temporal does not answer', { cause: error });
  }
  const byStart = (a: { startedAt: string }, b: { startedAt: string }) => a.startedAt.localeCompare(b.startedAt);
  return { items, jobs: jobs.sort(byStart), planRuns: planRuns.sort(byStart) };
}
