/** A plan run requests a job of a protection entity by signal, and is answered by signal. */
import { getExternalWorkflowHandle, log } from '@temporalio/workflow';
import * as messages from './messages.js';
import { uncancelled } from './uncancelled.js';

type PlanJob = 'plannedFailover' | 'commitFailover';

/** @param ask starts the job; an error that it throws is the refusal. */
export async function answerPlan(
  { requestId, kind, planRun, holdBefore }: messages.JobRequestSignal,
  vm: string,
  ask: (kind: PlanJob, request: { requestId: string; planRun: string; holdBefore: string[] }) => messages.JobAccepted,
): Promise<void> {
  let answer: { jobId: string } | { refusal: string };
  try {
    if (kind !== 'plannedFailover' && kind !== 'commitFailover') throw new Error(`a plan cannot run ${kind}`);
    answer = ask(kind, { requestId, planRun, holdBefore });
  } catch (error) {
    answer = { refusal: error instanceof Error ? error.message : String(error) };
  }
  const news = { vm, requestId, ...answer };
  await uncancelled(() => getExternalWorkflowHandle(planRun).signal(messages.jobAnsweredSignal, news)).catch(() =>
    log.warn('The plan run that made the request no longer exists', { planRun }),
  );
}
