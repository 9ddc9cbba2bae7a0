/**
 * Workflows that are stuck without reporting it: those whose tasks fail in every worker, and those with an activity
 * that was paused by hand.
 */
import { Client, type Connection } from '@temporalio/client';
import { decodeOptionalFailureToOptionalError } from '@temporalio/common/lib/internal-non-workflow/index.js';
import { taskQueues } from '../domain/ids.js';
import { clientDataConverter } from '../temporal/encryption/data-converter.js';
import type { KeyRing } from '../temporal/encryption/key-ring.js';
import { ok, problem, warning, type Finding } from './check.js';

/** A task whose worker was stopped is repeated once, which is normal. */
const FAILED_ATTEMPTS = 2;
const ASKED_AT_ONCE = 20;
/** Number of workflows that are listed in full. */
const TOLD = 5;
/** Number of events read from the end of the history, which contains the failure. */
const LAST_EVENTS = 5;

/** @throws the gRPC error. */
export async function stuckWorkflows(
  connection: Connection,
  namespace: string,
  vault: string,
  keys: KeyRing | undefined,
): Promise<readonly Finding[]> {
  const client = new Client({ connection, namespace, dataConverter: clientDataConverter(keys) });
  const query = `TaskQueue = '${taskQueues.azure(vault)}' AND ExecutionStatus = 'Running'`;
  const ids = new Set<string>();
  for await (const { workflowId } of client.workflow.list({ query })) ids.add(workflowId);
  const all = [...ids];
  const standing: Standing[] = [];
  for (let from = 0; from < all.length; from += ASKED_AT_ONCE) {
    const some = await Promise.all(all.slice(from, from + ASKED_AT_ONCE).map((id) => standingOf(client, id)));
    standing.push(...some.filter(({ failed, paused }) => failed >= FAILED_ATTEMPTS || paused !== undefined));
  }
  if (standing.length === 0) return [ok(`${all.length} running, none stuck`)];
  const told = await Promise.all(standing.slice(0, TOLD).map((one) => finding(client, one)));
  const rest = standing.length - told.length;
  return rest === 0
    ? told
    : [...told, problem(`${rest} more ${rest === 1 ? 'is' : 'are'} stuck`, 'fix the ones above first')];
}

interface Standing {
  readonly id: string;
  /** How many times in a row a worker has failed to run it. */
  readonly failed: number;
  /** A paused activity. */
  readonly paused: string | undefined;
}

async function standingOf(client: Client, id: string): Promise<Standing> {
  // A workflow that has ended meanwhile is not stuck.
  const found = await rawDescription(client, id).catch(() => undefined);
  const paused = found?.pendingActivities?.find((activity) => activity.paused)?.activityType?.name ?? undefined;
  return { id, failed: (found?.pendingWorkflowTask?.attempt ?? 1) - 1, paused };
}

async function finding(client: Client, { id, failed, paused }: Standing): Promise<Finding> {
  if (failed < FAILED_ATTEMPTS) {
    return warning(
      `${id} is stuck: its activity ${paused} is paused`,
      'unpause the activity in the Temporal Web UI (`farshore open`); to pause replication, use `farshore pause` instead',
    );
  }
  const why = await lastFailure(client, id);
  return problem(
    `${id} is stuck: a worker has failed to run it ${failed} times${why ? ` (${why})` : ''}`,
    'fix the cause on the machine of the worker; the workflow then resumes automatically. For the cause, see the log of the worker and the workflow in the Temporal Web UI',
  );
}

const rawDescription = (client: Client, workflowId: string) =>
  client.workflowService.describeWorkflowExecution({
    namespace: client.options.namespace,
    execution: { workflowId },
  });

async function lastFailure(client: Client, workflowId: string): Promise<string | undefined> {
  const { history } = await client.workflowService.getWorkflowExecutionHistoryReverse({
    namespace: client.options.namespace,
    execution: { workflowId },
    maximumPageSize: LAST_EVENTS,
  });
  const failed = history?.events?.find((event) => event.workflowTaskFailedEventAttributes);
  const failure = failed?.workflowTaskFailedEventAttributes?.failure;
  const error = await decodeOptionalFailureToOptionalError(client.options.loadedDataConverter, failure).catch(
    (undecoded: unknown) => undecoded as Error,
  );
  return error?.message.split('\n', 1)[0];
}
