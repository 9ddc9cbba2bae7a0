/**
 * Job "Unplanned failover": the primary site is lost or given up. The replica VM is created from the vault, which also
 * describes it; the job waits for nothing at the primary site. Data that the source wrote after the recovery point is
 * lost, and the result says how much time that is.
 *
 * Restart: each step is repeatable. Before "Start failover", nothing has been changed, so the job can be cancelled.
 */
import { CancellationScope, isCancellation } from '@temporalio/workflow';
import { toFailure } from '../domain/errors.js';
import type { Job, UnplannedFailoverResult } from '../domain/job.js';
import type { NotDone } from '../domain/not-done.js';
import { timesOf } from '../domain/failover-times.js';
import { comparedWrites, holdsEverything, MOST_CUTS, type DiskWrite } from '../domain/last-cut.js';
import type { JobRun } from './job-run.js';
import type { JobInput } from './messages.js';
import { retentionOf } from './retention.js';
import { runJob } from './run-job.js';
import { sourceIfThere } from './sides.js';
import { failureOf, StepFailure } from './step-failure.js';

type ShutDown = Pick<UnplannedFailoverResult, 'shutDown' | 'shutDownProblem'> & {
  /** The last writes that the source has recorded; if the shutdown succeeded, they have been sent. */
  readonly issued?: readonly DiskWrite[];
};

export async function unplannedFailover(input: JobInput): Promise<Job> {
  return runJob(input, 'unplannedFailover', async (run) => {
    const { vm, parameters } = run.input;
    const wanted = parameters?.recoveryPoint ?? 'latest';
    const { failoverEpoch, runsFrom } = await run.task('Prerequisites check for unplanned failover', async () => {
      const checked = await run.step('check the replica', () => run.target.checkUnplannedFailover({ vm, wanted }));
      if (checked.refusal !== undefined) throw new StepFailure(toFailure('PrerequisitesNotMet', checked.refusal));
      return checked;
    });
    const { issued, ...shutDown } = await run.task(
      'Shut down the virtual machine',
      () => (parameters?.tryShutDown ? tryShutDown(run, wanted) : Promise.resolve<ShutDown>({ shutDown: 'notTried' })),
      notShutDown,
    );
    const prepared = await run.task('Preparing for failover', () =>
      run.step('determine the recovery point', () =>
        run.target.settleRecoveryPoint({ vm, wanted: runsFrom ?? wanted }),
      ),
    );
    const { recoveryPoint } = prepared;
    // Once the fence has risen, the source can no longer send, so the job only moves forward.
    run.pointOfNoReturn();
    return CancellationScope.nonCancellable(async () => {
      const { failedOverAt } = await run.task('Start failover', () =>
        run.step('create the replica VM', () =>
          run.target.startUnplannedFailover({ vm, failoverEpoch, recoveryPoint: recoveryPoint.id }),
        ),
      );
      const started = await run.task('Start the replica virtual machine', () =>
        run.step('boot the replica VM', () => run.target.startReplicaVm({ vm, epoch: failoverEpoch })),
      );
      const disks = issued && prepared.lastWrites && comparedWrites(issued, prepared.lastWrites);
      const result: UnplannedFailoverResult = {
        recoveryPoint: recoveryPoint.id,
        recoveryPointTime: recoveryPoint.time,
        failedOverAt,
        ...timesOf({
          dataAsOf: recoveryPoint.time,
          hostSeenAt: parameters?.hostSeenAt,
          hostSilentAt: parameters?.hostSilentAt,
          hostClockAheadMs: parameters?.hostClockAheadMs,
          declaredAt: parameters?.declaredAt ?? run.job.startedAt,
          failedOverAt,
          runningAt: started.startedAt,
          disks,
        }),
        cyclesProcessed: prepared.cyclesProcessed,
        ...(prepared.stoppedBy !== undefined && { processingStoppedBy: prepared.stoppedBy }),
        ...shutDown,
        ...(disks && { disks }),
        replicaDisks: started.disks,
      };
      return { epoch: failoverEpoch, recoveryPoint, result };
    });
  });
}

function notShutDown({ shutDown, shutDownProblem }: ShutDown): NotDone | undefined {
  const later = 'the source is turned off and fenced once its Provider answers';
  if (shutDown === 'notTried') return { state: 'Skipped', reason: `not requested; ${later}` };
  return shutDown === 'failed' ? { state: 'Failed', reason: `${shutDownProblem}; ${later}` } : undefined;
}

/**
 * Makes one bounded attempt at each step and continues whatever the result: the source is shut down, and its remaining
 * changes are fetched. The newest cycle may have been cut earlier, even as a final one; cuts are made until one holds
 * everything.
 */
async function tryShutDown(run: JobRun<'unplannedFailover'>, wanted: string): Promise<ShutDown> {
  const { vault, vm, host, vmmServer, epoch, nextSequence, policy } = run.input;
  // If a certain point was requested, points are not deleted to make room for later changes.
  const retention = wanted === 'latest' ? { retention: retentionOf(policy) } : {};
  const { source, sourceFabric } = sourceIfThere(vault, host, vmmServer);
  run.compensateWith('startSource');
  try {
    const { exportsClosedAt } = await sourceFabric.shutDownVm({ vm });
    for (let sequence = nextSequence; sequence < nextSequence + MOST_CUTS; sequence += 1) {
      const cut = await source.cutAndShip({ vm, epoch, sequence, ...retention });
      if (holdsEverything(cut, exportsClosedAt)) return { shutDown: 'done', issued: cut.issued! };
    }
    return { shutDown: 'failed', shutDownProblem: `the source was written to after its exports were closed` };
  } catch (error) {
    if (isCancellation(error)) throw error;
    return { shutDown: 'failed', shutDownProblem: failureOf(error).message };
  }
}
