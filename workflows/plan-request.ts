/** A plan run asks a protection entity for a job by signal, and is answered by signal. */
import { getExternalWorkflowHandle, log } from '@temporalio/workflow';
import * as messages from './messages.js';
import { uncancelled } from './uncancelled.js';

type PlanJob = 'plannedFailover' | 'commitFailover';

/** @param ask starts the job; what it throws is the refusal. */
export async function answerPlan(
  raw: unknown,
  vm: string,
  ask: (kind: PlanJob, request: { requestId: string; planRun: string; holdBefore: string[] }) => messages.JobAccepted,
): Promise<void> {
  const parsed = messages.jobRequestSignalSchema.safeParse(raw);
  if (!parsed.success) return log.error('A request of a plan run is not valid', { problem: parsed.error.message });
  const { requestId, kind, planRun, holdBefore } = parsed.data;
  let answer: { jobId: string } | { refusal: string };
  try {
    if (kind !== 'plannedFailover' && kind !== 'commitFailover') throw new Error(`a plan does not run ${kind}`);
    answer = ask(kind, { requestId, planRun, holdBefore });
  } catch (error) {
    answer = { refusal: error instanceof Error ? error.message : String(error) };
  }
  const news = { vm, requestId, ...answer };
  await uncancelled(() => getExternalWorkflowHandle(planRun).signal(messages.jobAnsweredSignal, news)).catch(() =>
    log.warn('The plan run that asked is gone', { planRun }),
  );
}
