/** The end of a job, told to the plan run that asked for it. */
import { getExternalWorkflowHandle } from '@temporalio/workflow';
import type { Job } from '../domain/job.js';
import type { JobOutcome } from '../domain/job-outcome.js';
import { ignoreClosed } from './entity-closed.js';
import { planJobEndedSignal } from './messages.js';

/** A plan run that is gone does not make the failover undone. */
export async function tellPlan({ id, vm, planRun, result }: Job, { outcome, failure }: JobOutcome): Promise<void> {
  if (planRun === undefined) return;
  const reason = failure && `${failure.message}. ${failure.remedy}`;
  const news = { vm, jobId: id, outcome, ...(reason !== undefined && { reason }), ...(result && { result }) };
  await getExternalWorkflowHandle(planRun).signal(planJobEndedSignal, news).catch(ignoreClosed);
}
