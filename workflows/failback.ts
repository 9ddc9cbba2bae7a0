/**
 * Job "Failback": brings a VM back to the primary site. What the replica VM has written is sent while it runs, and
 * received in layers above the original disks; then it is shut down, the rest is sent, and the VM starts at the primary
 * site. The originals stay as they were until the failback is committed.
 *
 * If the originals provably equal the recovery point of the failover, only the blocks written since are sent. Otherwise
 * the primary site computes digests of them, and the blocks that differ are sent.
 *
 * Restart: each step is repeatable. A job that is cancelled before "Handing over to the primary site" starts the
 * replica VM again, discards the layers, and stops tracking.
 */
import { CancellationScope } from '@temporalio/workflow';
import type { ShippedCycle } from '../activities/shipped-cycle.js';
import { toFailure } from '../domain/errors.js';
import type { FailbackResult, Job } from '../domain/job.js';
import { SHUT_DOWN_REPLICA } from '../domain/jobs/failback.js';
import { comparedWrites, holdsEverything, MOST_CUTS } from '../domain/last-cut.js';
import { copyFrequencyMs } from '../domain/policy.js';
import { secondsBetween } from '../domain/time.js';
import { now } from './clock.js';
import type { JobRun, JobSuccess } from './job-run.js';
import type { JobInput } from './messages.js';
import { runJob } from './run-job.js';
import { StepFailure } from './step-failure.js';
import { untilOrAfter } from './wait.js';

type Run = JobRun<'failback'>;

/** The sequence of the first change set, which holds the VM snapshot. */
const SNAPSHOT = 0;
const AGAIN = 'Fail back again. The VM runs at the recovery site, and nothing was lost.';

export async function failback(input: JobInput): Promise<Job> {
  return runJob(input, 'failback', async (run) => {
    try {
      return await bringBack(run);
    } catch (error) {
      throw withoutMark(error);
    }
  });
}

async function bringBack(run: Run): Promise<JobSuccess> {
  const { vm } = run.input;
  const { epoch, disks } = await run.task('Prerequisites check for failback', () => check(run));
  run.known = { epoch };
  // Registered outside the tasks: a finished task is skipped when the job has continued as new.
  run.compensateWith('endFailback');
  run.compensateWith('discardFailback');
  const { sealedAt, isOriginalEqual } = await run.task('Preparing the disks at the primary site', async () => {
    const begun = await run.step('track the changes of the replica VM', () => run.target.beginFailback({ vm, epoch }));
    const layers = await run.step('create the layers above the original disks', () =>
      run.source.createFailbackLayers({ vm, epoch }),
    );
    const { equalsPoint } = await run.step('check whether the original disks are unchanged', () =>
      run.target.compareOriginal({ vm, ...layers }),
    );
    return { ...begun, isOriginalEqual: equalsPoint };
  });
  const first = await run.task('Synchronizing the changes', async () => {
    if (!isOriginalEqual) await digestOriginals(run, epoch, disks);
    const sent = await run.step('send the content of the VM snapshot', () =>
      run.target.sendSnapshot({ vm, epoch, sealedAt, disks, isOriginalEqual }),
    );
    await receive(run, epoch, SNAPSHOT);
    await run.loop(
      'merge the VM snapshot',
      -1,
      () => run.target.mergeReplicaSnapshot({ vm }),
      (_, { bytesLeft }) => ({ state: bytesLeft, done: bytesLeft === 0 }),
    );
    return sent.bytes;
  });
  const kept = await run.task('Waiting for the failback to be completed', () => keepSynchronizing(run, epoch, first));
  run.compensateWith('startReplica');
  const { exportsClosedAt } = await run.task(SHUT_DOWN_REPLICA, async () => {
    // The VM keeps running while its host cannot take it back.
    await run.step('check that the host can receive the rest', () => run.source.checkFailbackTarget({ vm }));
    await run.step('check that the Provider can start the VM', () => run.sourceFabric.checkReturn({ vm }));
    return run.step('shut down the replica VM', () => run.target.shutDownReplicaVm({ vm }));
  });
  const last = await run.task('Synchronizing the last changes', () =>
    sendWhatIsLeft(run, epoch, kept.sequence, exportsClosedAt),
  );
  // Once the fence has risen, the replica VM can't be started, so the job only moves forward.
  run.pointOfNoReturn();
  return CancellationScope.nonCancellable(async () => {
    const nextEpoch = epoch + 1;
    await run.task('Handing over to the primary site', () =>
      run.step('fence the replica VM', () => run.target.handOver({ vm, epoch: nextEpoch })),
    );
    const runningAt = await run.task('Start the virtual machine', async () => {
      await run.step('start the VM', () => run.sourceFabric.startVm({ vm, epoch: nextEpoch }));
      return now();
    });
    const result: FailbackResult = {
      originalUnchanged: isOriginalEqual,
      bytesSent: kept.bytes + last.bytes,
      exportsClosedAt: last.exportsClosedAt,
      sealedAt: last.sealedAt,
      runningAt,
      outageSeconds: secondsBetween(last.exportsClosedAt, runningAt),
      disks: comparedWrites(last.issued!, last.lastWrites),
    };
    return { epoch: nextEpoch, result };
  });
}

/** @returns the epoch of the failback, and the disks to be brought back. */
async function check(run: Run) {
  const { vm } = run.input;
  const replica = await run.step('check the replica VM', () => run.target.checkFailback({ vm }));
  const original = await run.step('check the original VM', () => run.source.checkFailbackTarget({ vm }));
  const problem = otherDisks(vm, original.disks, replica.disks);
  if (problem === undefined) return replica;
  throw new StepFailure(toFailure('PrerequisitesNotMet', problem));
}

type Disks = readonly { readonly name: string; readonly size: number }[];

/** Why disks at both sites do not belong together; undefined if they do. */
export function otherDisks(vm: string, original: Disks, replica: Disks): string | undefined {
  const told = (disks: Disks) =>
    disks
      .map(({ name, size }) => `${name} of ${size} bytes`)
      .toSorted()
      .join(', ');
  if (told(original) === told(replica)) return undefined;
  return `${vm} has ${told(original)} at the primary site, and ${told(replica)} at the recovery site; give it disks of the same names and sizes there`;
}

async function digestOriginals(run: Run, epoch: number, disks: readonly { name: string; size: number }[]) {
  const { vm } = run.input;
  const total = disks.reduce((sum, { size }) => sum + size, 0);
  let before = 0;
  for (const { name: disk, size } of disks) {
    await run.loop(
      `digest the original of disk ${disk}`,
      0,
      async (fromOffset) => {
        const digested = await run.source.digestOriginal({ vm, epoch, disk, fromOffset });
        await run.report(Math.min(total, before + digested.nextOffset), total, 0);
        return digested;
      },
      (_, { nextOffset, done }) => ({ state: nextOffset, done }),
    );
    before += size;
  }
}

const receive = (run: Run, epoch: number, sequence: number): Promise<void> =>
  run.step(`receive change set ${sequence}`, () => run.source.receiveChanges({ vm: run.input.vm, epoch, sequence }));

interface Synchronized {
  /** The next cycle. */
  readonly sequence: number;
  /** Bytes sent so far. */
  readonly bytes: number;
}

/** Sends the changes of the running replica VM until an operator lets the job continue. */
async function keepSynchronizing(run: Run, epoch: number, bytes: number): Promise<Synchronized> {
  const { vm, policy, parameters } = run.input;
  const isWanted = () => parameters?.synchronize === 'during' || run.isReleased(SHUT_DOWN_REPLICA);
  return run.loop<Synchronized, Synchronized & { done: boolean }>(
    'synchronize until the failback is completed',
    { sequence: 1, bytes },
    async (state) => {
      if (await untilOrAfter(isWanted, copyFrequencyMs(policy), `Next change set of ${vm}`))
        return { ...state, done: true };
      const { sequence } = state;
      const sent = await run.target.sendReplicaCycle({ vm, epoch, sequence });
      await run.source.receiveChanges({ vm, epoch, sequence });
      return { sequence: sequence + 1, bytes: state.bytes + sent.bytes, done: false };
    },
    (_, { done, ...state }) => ({ state, done }),
  );
}

/** Cuts until one cut holds everything, as a planned failover does. */
async function sendWhatIsLeft(
  run: Run,
  epoch: number,
  from: number,
  shutDownAt: string,
): Promise<ShippedCycle & { exportsClosedAt: string }> {
  const { vm } = run.input;
  let exportsClosedAt = shutDownAt;
  let bytes = 0;
  for (let sequence = from; sequence < from + MOST_CUTS; sequence += 1) {
    const sent = await run.step(`send change set ${sequence}`, () =>
      run.target.sendReplicaCycle({ vm, epoch, sequence }),
    );
    bytes += sent.bytes;
    await receive(run, epoch, sequence);
    if (holdsEverything(sent, exportsClosedAt)) return { ...sent, bytes, exportsClosedAt };
    ({ exportsClosedAt } = await run.step(`shut down the replica VM behind change set ${sequence}`, () =>
      run.target.shutDownReplicaVm({ vm }),
    ));
  }
  throw new StepFailure(
    toFailure(
      'InvalidVmState',
      `none of the ${MOST_CUTS} cuts of ${vm} is complete: it was written to after its shutdown`,
    ),
  );
}

/** The VM runs at the recovery site, so a lost change costs a new failback, not a resynchronization of the replica. */
function withoutMark(error: unknown): unknown {
  if (!(error instanceof StepFailure) || error.failure.class !== 'needsResync') return error;
  return new StepFailure({ ...error.failure, class: 'nonRecoverable', remedy: AGAIN });
}
