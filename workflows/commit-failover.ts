/**
 * Job "Commit": makes a failover or a failback permanent.
 *
 * - A failover: deletes all recovery points except the one that the replica VM runs from.
 * - A failback: merges the layers into the original disks, while the VM runs, and then deletes the replica VM. The merge
 * is the point of no return; it continues after any interruption.
 */
import { CancellationScope } from '@temporalio/workflow';
import type { Job } from '../domain/job.js';
import { mergeSnapshot } from './copy-disks.js';
import type { JobRun, JobSuccess } from './job-run.js';
import { runJob } from './run-job.js';
import type { JobInput } from './messages.js';

type Run = JobRun<'commitFailover'>;

export async function commitFailover(input: JobInput): Promise<Job> {
  return runJob(input, 'commitFailover', (run) =>
    run.input.activeSide === 'primary' ? commitFailback(run) : commitAtRecoverySite(run),
  );
}

async function commitAtRecoverySite(run: Run): Promise<JobSuccess> {
  const { vm, epoch, recoveryPoint } = run.input;
  await run.task('Prerequisites check for commit', () =>
    run.step('check the replica VM', () => run.target.checkCommit({ vm })),
  );
  const { deleted, newer } = await run.task('Commit', () =>
    run.step('delete the recovery points', () => run.target.commitFailover({ vm, epoch, recoveryPoint })),
  );
  return { ...newer, result: { recoveryPointsDeleted: deleted } };
}

async function commitFailback(run: Run): Promise<JobSuccess> {
  const { vm, epoch } = run.input;
  await run.task('Prerequisites check for commit', () =>
    run.step('check the VM', () => run.source.checkCommitFailback({ vm })),
  );
  await run.task('Commit', async () => {
    run.pointOfNoReturn();
    await CancellationScope.nonCancellable(async () => {
      await run.step('make the layers a part of the disks', () => run.source.commitFailback({ vm, epoch }));
      await mergeSnapshot(run);
      await run.step('delete the replica VM', () => run.target.removeFailedBackReplicaVm({ vm, epoch }));
    });
  });
  return { result: {} };
}
