/**
 * Job "Unplanned failover": the primary side is dead, or given up. The replica VM is made from what the vault holds,
 * by the vault's own description of it; nothing at the primary side is waited for.
 * What the source wrote after the recovery point is lost, and the result says how much time that is.
 * Restart: each step is repeatable. Cancelled before "Start failover": nothing has been done.
 */
import { CancellationScope, isCancellation } from '@temporalio/workflow';
import { toFailure } from '../domain/errors.js';
import type { Job, UnplannedFailoverResult } from '../domain/job.js';
import { secondsBetween } from '../domain/time.js';
import type { JobRun } from './job-run.js';
import type { JobInput } from './messages.js';
import { runJob } from './run-job.js';
import { primaryIfThere } from './sides.js';
import { failureOf, StepFailure } from './step-failure.js';

type ShutDown = Pick<UnplannedFailoverResult, 'shutDown' | 'shutDownProblem'>;

export async function unplannedFailover(input: JobInput): Promise<Job> {
  return runJob(input, 'unplannedFailover', async (run) => {
    const { vm, parameters } = run.input;
    const wanted = parameters?.recoveryPoint ?? 'latest';
    const { failoverEpoch } = await run.task('Prerequisites check for unplanned failover', async () => {
      const checked = await run.step('check the replica', () => run.azure.checkUnplannedFailover({ vm, wanted }));
      if (checked.refusal !== undefined) throw new StepFailure(toFailure('PrerequisitesNotMet', checked.refusal));
      return checked;
    });
    const shutDown = await run.task('Shut down the virtual machine', () =>
      parameters?.tryShutDown ? tryShutDown(run) : Promise.resolve<ShutDown>({ shutDown: 'notTried' }),
    );
    const prepared = await run.task('Preparing for failover', () =>
      run.step('settle the recovery point', () => run.azure.settleRecoveryPoint({ vm, wanted })),
    );
    const { recoveryPoint } = prepared;
    // Once the fence has risen the source can't send any more, so from here on only forward.
    run.pointOfNoReturn();
    return CancellationScope.nonCancellable(async () => {
      const { failedOverAt } = await run.task('Start failover', () =>
        run.step('create the replica VM', () =>
          run.azure.startUnplannedFailover({ vm, failoverEpoch, recoveryPoint: recoveryPoint.id }),
        ),
      );
      const started = await run.task('Start the replica virtual machine', () =>
        run.step('boot the replica VM', () => run.azure.startReplicaVm({ vm, epoch: failoverEpoch })),
      );
      const result: UnplannedFailoverResult = {
        recoveryPoint: recoveryPoint.id,
        recoveryPointTime: recoveryPoint.time,
        failedOverAt,
        rpoSeconds: secondsBetween(recoveryPoint.time, failedOverAt),
        rtoSeconds: secondsBetween(run.job.startedAt, started.startedAt),
        cyclesProcessed: prepared.cyclesProcessed,
        ...(prepared.stoppedBy !== undefined && { processingStoppedBy: prepared.stoppedBy }),
        ...shutDown,
        replicaDisks: started.disks,
      };
      return { epoch: failoverEpoch, recoveryPoint, result };
    });
  });
}

/**
 * One bounded attempt at each step, whatever comes of it: the source is shut down, and what it has not sent yet is
 * fetched. The newest cycle may have been cut before, and then one more is needed to hold everything.
 */
async function tryShutDown(run: JobRun<'unplannedFailover'>): Promise<ShutDown> {
  const { vm, host, vmmServer, epoch, nextSequence } = run.input;
  const { provider, agent } = primaryIfThere(host, vmmServer);
  run.compensateWith('start the source VM again', () => provider.startVm({ vm, epoch }));
  try {
    await provider.shutDownVm({ vm });
    const first = await agent.cutAndShip({ vm, epoch, sequence: nextSequence, final: false });
    if (!first.final) await agent.cutAndShip({ vm, epoch, sequence: nextSequence + 1, final: true });
    return { shutDown: 'done' };
  } catch (error) {
    if (isCancellation(error)) throw error;
    return { shutDown: 'failed', shutDownProblem: failureOf(error).message };
  }
}
