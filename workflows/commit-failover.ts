/**
 * Job "Commit": makes the failover permanent. Deletes all recovery points except the one that the replica VM runs from.
 */
import type { Job } from '../domain/job.js';
import { runJob } from './run-job.js';
import type { JobInput } from './messages.js';

export async function commitFailover(input: JobInput): Promise<Job> {
  return runJob(input, 'commitFailover', async (run) => {
    const { vm, epoch, recoveryPoint } = run.input;
    await run.task('Prerequisites check for commit', () =>
      run.step('check the replica VM', () => run.target.checkCommit({ vm })),
    );
    const { deleted, newer } = await run.task('Commit', () =>
      run.step('delete the recovery points', () => run.target.commitFailover({ vm, epoch, recoveryPoint })),
    );
    return { ...newer, result: { recoveryPointsDeleted: deleted } };
  });
}
