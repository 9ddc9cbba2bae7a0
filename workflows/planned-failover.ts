/**
 * Job "Planned failover": shut the source down, send what is left, hand the right to run to the recovery side.
 * Nothing is lost: the final cut is made with the exports closed, and the last write the source issued must be the
 * last one the replica holds, per disk, before the replica VM is created.
 * Restart: each step is repeatable. Cancelled before "Start failover": the source VM is started again.
 */
import { CancellationScope, patched } from '@temporalio/workflow';
import type { AppliedCycle } from '../activities/azure.js';
import type { ShippedCycle } from '../activities/primary.js';
import { toFailure } from '../domain/errors.js';
import type { FailoverResult, Job } from '../domain/job.js';
import { secondsBetween, toMs } from '../domain/time.js';
import type { JobRun } from './job-run.js';
import { runJob } from './run-job.js';
import type { JobInput } from './messages.js';
import { replicateOnce, type ReplicatedCycle } from './replicate-once.js';
import { StepFailure } from './step-failure.js';

export async function plannedFailover(input: JobInput): Promise<Job> {
  return runJob(input, 'plannedFailover', async (run) => {
    const { vm, epoch } = run.input;
    const failoverEpoch = epoch + 1;
    await run.task('Prerequisites check for planned failover', async () => {
      await run.step('check the source VM', () => run.provider.checkFailoverSource({ vm, epoch }));
      await run.step('check the replica', () => run.azure.checkFailoverTarget({ vm, epoch }));
      // It sends the last changes: without it the VM would be off until it is back. Runs that began before this go on as they did.
      if (patched('failover-asks-agent')) await run.step('check the host', () => run.agent.checkSource({ vm }));
    });
    run.compensateWith('start the source VM again', () => run.provider.startVm({ vm, epoch }));
    const { exportsClosedAt } = await run.task('Shut down the virtual machine', () =>
      run.step('shut down the source VM', () => run.provider.shutDownVm({ vm })),
    );
    const { shipped, applied, outcome } = await run.task('Preparing for failover', async () => {
      const cycle = await sendWhatIsLeft(run, exportsClosedAt);
      requireNothingLost(vm, exportsClosedAt, cycle.shipped, cycle.applied);
      return cycle;
    });
    // Once the fence has risen the source can't be let write again, so from here on only forward.
    run.pointOfNoReturn();
    return CancellationScope.nonCancellable(async () => {
      const { recoveryPoint } = await run.task('Start failover', async () => {
        await run.step('fence the source VM', () => run.provider.fenceVm({ vm, epoch: failoverEpoch }));
        return run.step('create the replica VM', () => run.azure.startFailover({ vm, epoch, failoverEpoch }));
      });
      const started = await run.task('Start the replica virtual machine', () =>
        run.step('boot the replica VM', () => run.azure.startReplicaVm({ vm, epoch: failoverEpoch })),
      );
      const result: FailoverResult = {
        recoveryPoint: recoveryPoint.id,
        recoveryPointTime: recoveryPoint.time,
        exportsClosedAt,
        sealedAt: shipped.sealedAt,
        // What was written after the cut would be lost; with the exports closed before it, nothing is.
        rpoSeconds: Math.max(0, toMs(exportsClosedAt) - toMs(applied.sealedAt)) / 1000,
        rtoSeconds: secondsBetween(run.job.startedAt, started.startedAt),
        disks: comparedWrites(shipped, applied),
        replicaDisks: started.disks,
      };
      return { ...outcome, epoch: failoverEpoch, recoveryPoint, result };
    });
  });
}

/**
 * The next cycle may have been cut already, while the VM ran or before it ran last, and not have been sent: the delta
 * loop was waiting to try again. It is sent as it is, and what was written after it goes with the one that follows.
 */
async function sendWhatIsLeft(run: JobRun<'plannedFailover'>, exportsClosedAt: string): Promise<ReplicatedCycle> {
  const { vm, epoch, nextSequence: sequence } = run.input;
  const next = await replicateOnce(run, { vm, epoch, sequence, final: false });
  if (holdsEverything(next.shipped, exportsClosedAt)) return next;
  return replicateOnce(run, { vm, epoch, sequence: sequence + 1, final: true });
}

const holdsEverything = ({ final, sealedAt }: ShippedCycle, exportsClosedAt: string): boolean =>
  final && toMs(sealedAt) >= toMs(exportsClosedAt);

const comparedWrites = (shipped: ShippedCycle, applied: AppliedCycle): FailoverResult['disks'] =>
  shipped.lastWrites.map(({ name, lastWrite }) => ({
    name,
    lastWriteIssued: lastWrite,
    lastWriteApplied: applied.lastWrites.find((disk) => disk.name === name)?.lastWrite ?? 0,
  }));

function requireNothingLost(vm: string, exportsClosedAt: string, shipped: ShippedCycle, applied: AppliedCycle): void {
  const behind = comparedWrites(shipped, applied).find((disk) => disk.lastWriteIssued !== disk.lastWriteApplied);
  if (behind) {
    throw new StepFailure(
      toFailure(
        'InvalidReplicaState',
        `disk ${behind.name} of ${vm}: the source issued write ${behind.lastWriteIssued}, the replica holds ${behind.lastWriteApplied}`,
      ),
    );
  }
  if (!holdsEverything(shipped, exportsClosedAt)) {
    throw new StepFailure(
      toFailure(
        'InvalidVmState',
        `the final cut of ${vm} was made before its exports were closed at ${exportsClosedAt}`,
      ),
    );
  }
}
