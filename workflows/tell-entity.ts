/** Signals of a job to the protection entity of its VM, whichever run of the entity is alive. */
import { getExternalWorkflowHandle, log } from '@temporalio/workflow';
import type { TargetActivities } from '../activities/target.js';
import { protectedItemId } from '../domain/ids.js';
import { currentTask, type Job } from '../domain/job.js';
import type { JobOutcome } from '../domain/job-outcome.js';
import { entityClosed } from './entity-closed.js';
import { jobEndedSignal, jobProgressedSignal } from './messages.js';

export const entityOf = ({ vault, vm }: Pick<Job, 'vault' | 'vm'>) =>
  getExternalWorkflowHandle(protectedItemId(vault, vm));

/** @throws EntityClosed */
export async function tellProgress(job: Job): Promise<void> {
  const { id, progress, retry } = job;
  const task = job.undoing ?? currentTask(job)?.name;
  const news = {
    jobId: id,
    ...(task !== undefined && { task }),
    ...(progress && { progress }),
    ...(retry && { retry }),
  };
  await entityOf(job).signal(jobProgressedSignal, news).catch(entityClosed);
}

/** @returns false if the entity is closed. */
export const tellEnd = (job: Job, result: JobOutcome): Promise<boolean> =>
  entityOf(job)
    .signal(jobEndedSignal, { jobId: job.id, result })
    .then(
      () => true,
      () => false,
    );

/** Makes one attempt only: an unreachable store must not keep a finished job from ending. */
export async function leaveRecord({ recordJob }: Pick<TargetActivities, 'recordJob'>, job: Job): Promise<void> {
  await recordJob({ job }).catch((error: unknown) => {
    log.warn('The record of this job could not be written to the vault', { error: String(error) });
  });
}
