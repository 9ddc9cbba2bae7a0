/** The workers that poll a task queue, as recorded by the server. */
import type { WorkflowService } from '@temporalio/client';
import { tsToMs } from '@temporalio/common/lib/time.js';

export interface Poller {
  readonly identity: string;
  /** Time of the last poll, ms since 1970 by the server's clock. */
  readonly at: number;
}

/** Kinds of tasks, with gRPC's values. */
export const WORKFLOWS = 1;
export const ACTIVITIES = 2;

/** A poll lasts at most a minute: a worker that has not polled for this long is gone. ms. */
export const POLLER_GONE_MS = 80_000;

/** Includes those of the last five minutes that are gone. @throws the gRPC error. */
export async function pollersOf(
  workflowService: WorkflowService,
  namespace: string,
  queue: string,
  type: typeof WORKFLOWS | typeof ACTIVITIES,
): Promise<Poller[]> {
  const { pollers } = await workflowService.describeTaskQueue({
    namespace,
    taskQueue: { name: queue },
    taskQueueType: type,
  });
  return (pollers ?? []).map(({ identity, lastAccessTime }) => ({
    identity: identity ?? 'an unnamed client',
    at: lastAccessTime ? tsToMs(lastAccessTime) : 0,
  }));
}
