/** Who polls a task queue, as the server has noted it. */
import type { WorkflowService } from '@temporalio/client';
import { tsToMs } from '@temporalio/common/lib/time.js';

export interface Poller {
  readonly identity: string;
  /** When it asked last, ms since 1970 by the server's clock. */
  readonly at: number;
}

/** What a queue holds, by gRPC's names. */
export const WORKFLOWS = 1;
export const ACTIVITIES = 2;

/** A poll lasts a minute at most: who has not asked for longer is gone. ms. */
export const POLLER_GONE_MS = 80_000;

/** Also those of the last five minutes that are gone. @throws the gRPC error. */
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
