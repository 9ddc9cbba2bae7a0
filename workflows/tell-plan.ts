/** Reports the end of a job to the plan run that requested it. */
import { getExternalWorkflowHandle } from '@temporalio/workflow';
import type { Job } from '../domain/job.js';
import type { JobOutcome } from '../domain/job-outcome.js';
import { ignoreClosed } from './entity-closed.js';
import { planJobEndedSignal } from './messages.js';

/** If the plan run is gone, that does not undo the failover. */
export async function tellPlan({ id, vm, planRun, result }: Job, { outcome, failure }: JobOutcome): Promise<void> {
  if (planRun === undefined) return;
  const reason = failure && `${failure.message}. ${failure.remedy}`;
  const news = { vm, jobId: id, outcome, ...(reason !== undefined && { reason }), ...(result && { result }) };
  await getExternalWorkflowHandle(planRun).signal(planJobEndedSignal, news).catch(ignoreClosed);
}
