/**
 * Job "Planned failover": shuts the source down, sends the remaining changes, and hands the right to run to the
 * recovery site. Nothing is lost: cuts are made until one holds everything, and before the replica VM is created, the
 * last write in the replica must equal the last write that the source's tracker has recorded, for each disk.
 *
 * Restart: each step is repeatable. If the job is cancelled before "Start failover", the source VM is started again.
 */
import { CancellationScope } from '@temporalio/workflow';
import { toFailure, type Failure } from '../domain/errors.js';
import type { FailoverResult, Job } from '../domain/job.js';
import { comparedWrites, holdsEverything, MOST_CUTS, type ComparedWrites, type DiskWrite } from '../domain/last-cut.js';
import { BEFORE_THAT, startSilent } from '../domain/start-again.js';
import { secondsBetween, toMs } from '../domain/time.js';
import { mergeSnapshot } from './copy-disks.js';
import type { JobRun } from './job-run.js';
import { runJob } from './run-job.js';
import type { JobInput } from './messages.js';
import { askedSidesOf } from './sides.js';
import { replicateOnce, type ReplicatedCycle } from './replicate-once.js';
import { StepFailure } from './step-failure.js';

export async function plannedFailover(input: JobInput): Promise<Job> {
  return runJob(input, 'plannedFailover', async (run) => {
    const { vm, epoch } = run.input;
    const failoverEpoch = epoch + 1;
    await run.task('Prerequisites check for planned failover', async () => {
      const source = await ask(run, 'check the source VM', ({ sourceFabric }) =>
        sourceFabric.checkFailoverSource({ vm, epoch }),
      );
      await ask(run, 'check the replica', ({ target }) => target.checkFailoverTarget({ vm, epoch }));
      // The agent sends the last changes: if it were down, the VM would stay off until it is back.
      await ask(run, 'check the host', ({ source }) => source.checkSource({ vm }));
      if (source.snapshot !== undefined) await mergeSnapshot(run);
    });
    run.compensateWith('startSource');
    const shutDown = await run.task('Shut down the virtual machine', () =>
      run.step('shut down the source VM', () => run.sourceFabric.shutDownVm({ vm })),
    );
    const { shipped, applied, outcome, disks, exportsClosedAt } = await run.task('Preparing for failover', async () => {
      const cycle = await sendWhatIsLeft(run, shutDown.exportsClosedAt);
      const disks = comparedWrites(cycle.issued, cycle.applied.lastWrites);
      requireNothingLost(vm, disks);
      return { ...cycle, disks };
    });
    // Once the fence has risen, the source can no longer write, so the job only moves forward.
    run.pointOfNoReturn();
    return CancellationScope.nonCancellable(async () => {
      const { recoveryPoint } = await run.task('Start failover', async () => {
        await run.step('fence the source VM', () => run.sourceFabric.fenceVm({ vm, epoch: failoverEpoch }));
        return run.step('create the replica VM', () => run.target.startFailover({ vm, epoch, failoverEpoch }));
      });
      const started = await run.task('Start the replica virtual machine', () =>
        run.step('boot the replica VM', () => run.target.startReplicaVm({ vm, epoch: failoverEpoch })),
      );
      const result: FailoverResult = {
        recoveryPoint: recoveryPoint.id,
        recoveryPointTime: recoveryPoint.time,
        exportsClosedAt,
        sealedAt: shipped.sealedAt,
        // Data written after the cut would be lost; if the exports were closed before the cut, there is none.
        rpoSeconds: Math.max(0, toMs(exportsClosedAt) - toMs(applied.sealedAt)) / 1000,
        rtoSeconds: secondsBetween(run.job.startedAt, started.startedAt),
        disks,
        replicaDisks: started.disks,
      };
      return { ...outcome, epoch: failoverEpoch, recoveryPoint, result };
    });
  });
}

/**
 * A site that does not answer ends the failover before anything is changed: no cycles would be made while the job
 * waited. @throws StepFailure
 */
async function ask<T>(
  run: JobRun<'plannedFailover'>,
  name: string,
  question: (sides: ReturnType<typeof askedSidesOf>) => Promise<T>,
): Promise<T> {
  const call = () => question(askedSidesOf(run.input));
  const startOf = ({ code }: Failure) => startSilent(code, run.input);
  try {
    return await run.step(name, call, (failure) => startOf(failure) !== undefined);
  } catch (error) {
    if (!(error instanceof StepFailure)) throw error;
    const { failure } = error;
    const start = startOf(failure);
    if (start === undefined) throw error;
    throw new StepFailure({
      ...failure,
      message: `${failure.message}; nothing was changed, and replication continues`,
      remedy: `Restart it: ${start}. ${BEFORE_THAT}. Then fail over again.`,
    });
  }
}

interface LastCycle extends ReplicatedCycle {
  /** Time after which nothing was written, ISO 8601. */
  readonly exportsClosedAt: string;
  /** The last writes according to the tracker. */
  readonly issued: readonly DiskWrite[];
}

/**
 * Sends the remaining changes. The next cycle may have been cut but not sent, while the VM ran or before it last ran,
 * because the delta loop was waiting for a retry. It is sent as it is, and the next cycle has everything written after
 * it.
 */
async function sendWhatIsLeft(run: JobRun<'plannedFailover'>, shutDownAt: string): Promise<LastCycle> {
  const { vm, epoch, nextSequence } = run.input;
  let exportsClosedAt = shutDownAt;
  for (let cut = 0; cut < MOST_CUTS; cut += 1) {
    const sequence = nextSequence + cut;
    const cycle = await replicateOnce(run, { vm, epoch, sequence });
    // If the job is given up from here on, the delta loop continues after this cycle.
    run.known = cycle.outcome;
    if (holdsEverything(cycle.shipped, exportsClosedAt))
      return { ...cycle, exportsClosedAt, issued: cycle.shipped.issued! };
    // The VM should still be off. If it was started meanwhile, it is shut down again.
    ({ exportsClosedAt } = await run.step(`shut down the source VM behind cycle ${sequence}`, () =>
      run.sourceFabric.shutDownVm({ vm }),
    ));
  }
  throw new StepFailure(
    toFailure(
      'InvalidVmState',
      `none of the ${MOST_CUTS} cuts of ${vm} is complete: the VM was written to after its exports were closed at ${exportsClosedAt}`,
    ),
  );
}

function requireNothingLost(vm: string, disks: readonly ComparedWrites[]): void {
  const behind = disks.find(({ lastWriteIssued, lastWriteApplied }) => lastWriteIssued !== lastWriteApplied);
  if (!behind) return;
  throw new StepFailure(
    toFailure(
      'InvalidReplicaState',
      `disk ${behind.name} of ${vm}: the source issued write ${behind.lastWriteIssued}, but the replica ends at write ${behind.lastWriteApplied}`,
    ),
  );
}
