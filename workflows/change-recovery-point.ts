/**
 * Job "Change recovery point": the replica VM of a failed-over VM is deleted, with everything written to it, and created
 * again from another recovery point under a higher epoch.
 *
 * Restart: each step is repeatable. Until the replica VM is deleted, the job can be cancelled; the VM is then started
 * again with its writes.
 */
import { CancellationScope } from '@temporalio/workflow';
import { toFailure } from '../domain/errors.js';
import type { Job } from '../domain/job.js';
import type { PointChangeResult } from '../domain/point-change.js';
import type { JobInput } from './messages.js';
import { runJob } from './run-job.js';
import { StepFailure } from './step-failure.js';

export async function changeRecoveryPoint(input: JobInput): Promise<Job> {
  return runJob(input, 'changeRecoveryPoint', async (run) => {
    const { vm, parameters } = run.input;
    const wanted = parameters?.recoveryPoint ?? 'latest';
    const { epoch, from, to } = await run.task('Prerequisites check for changing the recovery point', async () => {
      const checked = await run.step('check the recovery point', () => run.target.checkPointChange({ vm, wanted }));
      if ('refusal' in checked) throw new StepFailure(toFailure('PrerequisitesNotMet', checked.refusal));
      return checked.change;
    });
    run.compensateWith('startReplica');
    const { written, problem } = await run.task('Shut down the replica virtual machine', () =>
      run.step('turn the replica VM off', () => run.target.stopReplicaVm({ vm, madeBefore: epoch })),
    );
    // From here on, the writes of the replica VM are gone.
    run.pointOfNoReturn();
    return CancellationScope.nonCancellable(async () => {
      await run.task('Changing the recovery point', async () => {
        await run.step('delete the replica VM', () => run.target.deleteReplicaVm({ vm, madeBefore: epoch }));
        await run.step('create the replica VM', () =>
          run.target.createReplicaVmAt({ vm, epoch, recoveryPoint: to.id }),
        );
      });
      const started = await run.task('Start the replica virtual machine', () =>
        run.step('boot the replica VM', () => run.target.startReplicaVm({ vm, epoch })),
      );
      const result: PointChangeResult = {
        recoveryPoint: to.id,
        recoveryPointTime: to.time,
        replacedPoint: from.id,
        replacedPointTime: from.time,
        discarded: written,
        ...(problem !== undefined && { discardedProblem: problem }),
        runningAt: started.startedAt,
        replicaDisks: started.disks,
      };
      return { epoch, recoveryPoint: { id: to.id, time: to.time }, result };
    });
  });
}
