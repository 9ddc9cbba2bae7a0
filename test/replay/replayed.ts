/** Goes through histories as a worker does that has to find out where a workflow stands. */
import { historyFromJSON } from '@temporalio/common/lib/proto-utils.js';
import { Worker } from '@temporalio/worker';

export interface History {
  readonly workflowId: string;
  /** As JSON has it, or as the server gives it. */
  readonly history: unknown;
}

/** @returns what went wrong, by workflow id. */
export async function replay(bundle: { code: string }, histories: readonly History[]): Promise<string[]> {
  const problems: string[] = [];
  const all = histories.map(({ workflowId, history }) => ({ workflowId, history: historyFromJSON(history) }));
  for await (const { workflowId, error } of Worker.runReplayHistories(
    { workflowBundle: bundle, replayName: 'stored' },
    all,
  )) {
    if (error) problems.push(`${workflowId}: ${error.name}: ${error.message}`);
  }
  return problems;
}
