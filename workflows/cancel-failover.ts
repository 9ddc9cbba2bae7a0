/**
 * Job "Cancel failover": the VM goes back to the primary site, as its source was left there. What it has written at the
 * recovery site is discarded.
 *
 * The order keeps the VM from running at both sites, whatever dies in between: the replica VM is off and can no longer
 * be started before the source is started. Its disks are deleted only when the source runs.
 *
 * Restart: each step is repeatable. Until "Returning to the primary site", the job can be cancelled; the replica VM is
 * then started again with its writes.
 */
import { CancellationScope, isCancellation } from '@temporalio/workflow';
import type { CancellationAtVault } from '../activities/cancel-failover.js';
import type { Failure } from '../domain/errors.js';
import { cancelledCause, type CancelledFailoverResult } from '../domain/failover-cancellation.js';
import type { Job } from '../domain/job.js';
import { BEFORE_THAT, startSilent } from '../domain/start-again.js';
import { now } from './clock.js';
import type { JobRun } from './job-run.js';
import type { JobInput } from './messages.js';
import { runJob } from './run-job.js';
import { allIfThere, askedSidesOf } from './sides.js';
import { failureOf, StepFailure } from './step-failure.js';

export async function cancelFailover(input: JobInput): Promise<Job> {
  return runJob(input, 'cancelFailover', async (run) => {
    const { vm } = run.input;
    const { epoch, held } = await run.task('Prerequisites check for cancelling the failover', async () => {
      await ask(run, 'check the source VM', ({ sourceFabric }) => sourceFabric.checkReturn({ vm }));
      const source = await ask(run, 'check the host', (sides) => sides.source.checkSource({ vm }));
      const vault = await ask(run, 'check the vault', ({ target }) => target.checkFailoverCancellation({ vm }));
      return { epoch: Math.max(vault.epoch, source.trackedEpoch + 1), held: vault.held };
    });
    run.compensateWith('startReplica');
    await run.task('Shut down the replica virtual machine', () =>
      run.step('turn the replica VM off', () => run.target.stopReplicaVm({ vm, madeBefore: epoch })),
    );
    // From here on, the VM runs at the primary site according to the vault.
    run.pointOfNoReturn();
    return CancellationScope.nonCancellable(async () => {
      const { recoveryPoint, stopped, resyncCause } = await run.task('Returning to the primary site', async () => {
        const ended = await run.step('take the right to run from the replica VM', () =>
          run.target.endFailover({ vm, epoch }),
        );
        // A late start may have begun before the fence rose.
        const stopped = await run.step('make sure that the replica VM is off', () =>
          run.target.stopReplicaVm({ vm, madeBefore: epoch }),
        );
        const continued = await run.step('continue without a comparison', () => continueEqual(run, epoch, held));
        return { ...ended, ...continued, stopped };
      });
      const runningAt = await run.task('Start the virtual machine', async () => {
        await run.step('start the source VM', () => run.sourceFabric.startVm({ vm, epoch }));
        return now();
      });
      await run.task('Delete the replica virtual machine', () =>
        run.step('delete the replica VM', () => run.target.deleteReplicaVm({ vm, madeBefore: epoch })),
      );
      const result: CancelledFailoverResult = {
        runningAt,
        discarded: stopped.written,
        ...(stopped.problem !== undefined && { discardedProblem: stopped.problem }),
        ...(resyncCause !== undefined && { resyncCause }),
      };
      return {
        ...{ epoch, result },
        ...(recoveryPoint && { recoveryPoint }),
        ...(resyncCause !== undefined && { resyncCause }),
      };
    });
  });
}

/**
 * If the source, which is off, still holds the state that the replica holds, replication continues from there in the new
 * epoch. Makes one attempt, because the VM does not run meanwhile; without the proof, both sites are compared later.
 */
async function continueEqual(
  run: JobRun<'cancelFailover'>,
  epoch: number,
  held: CancellationAtVault['held'],
): Promise<{ resyncCause?: string }> {
  if ('problem' in held) return { resyncCause: cancelledCause(held.problem) };
  const { vault, vm, host, vmmServer } = run.input;
  const { source, target } = allIfThere(vault, host, vmmServer);
  try {
    const begun = await source.continueReplication({ vm, epoch, unchangedSince: held });
    if ('problem' in begun) return { resyncCause: cancelledCause(begun.problem) };
    await target.continueReplica({ vm, epoch, disks: begun.disks });
    while ((await source.mergeSnapshot({ vm })).bytesLeft > 0);
    return {};
  } catch (error) {
    if (isCancellation(error)) throw error;
    return { resyncCause: cancelledCause(failureOf(error).message) };
  }
}

/** Any failure ends the job before anything is changed. @throws StepFailure */
async function ask<T>(
  run: JobRun<'cancelFailover'>,
  name: string,
  question: (sides: ReturnType<typeof askedSidesOf>) => Promise<T>,
): Promise<T> {
  try {
    return await run.step(
      name,
      () => question(askedSidesOf(run.input)),
      () => true,
    );
  } catch (error) {
    if (!(error instanceof StepFailure)) throw error;
    throw new StepFailure(unchanged(error.failure, run.input));
  }
}

function unchanged(failure: Failure, input: JobInput): Failure {
  const start = startSilent(failure.code, input);
  return {
    ...failure,
    // A failure that marks a VM for resynchronization has no meaning for one that runs at the recovery site.
    class: failure.class === 'needsResync' ? 'nonRecoverable' : failure.class,
    message: `${failure.message}; nothing was changed, and the VM keeps running at the recovery site`,
    remedy:
      start === undefined ? failure.remedy : `Restart it: ${start}. ${BEFORE_THAT}. Then cancel the failover again.`,
  };
}
