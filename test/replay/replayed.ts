/** Goes through histories as a worker does that has to find out where a workflow stands. */
import { historyFromJSON } from '@temporalio/common/lib/proto-utils.js';
import proto from '@temporalio/proto';
import { Worker } from '@temporalio/worker';

const { EVENT_TYPE_WORKFLOW_TASK_SCHEDULED } = proto.temporal.api.enums.v1.EventType;

export interface History {
  readonly workflowId: string;
  /** As JSON has it, or as the server gives it. */
  readonly history: unknown;
}

/**
 * One that was continued as new at once has no task for a second, and the SDK would wait for that for ever.
 * @returns what went wrong, by workflow id.
 */
export async function replay(bundle: { code: string }, histories: readonly History[]): Promise<string[]> {
  const problems: string[] = [];
  const all = histories
    .map(({ workflowId, history }) => ({ workflowId, history: historyFromJSON(history) }))
    .filter(({ history }) => history.events!.some(({ eventType }) => eventType === EVENT_TYPE_WORKFLOW_TASK_SCHEDULED));
  for await (const { workflowId, error } of Worker.runReplayHistories(
    { workflowBundle: bundle, replayName: 'stored' },
    all,
  )) {
    if (error) problems.push(`${workflowId}: ${error.name}: ${error.message}`);
  }
  return problems;
}
