/**
 * Job "Verify replication": takes a VM snapshot at the instant when the logs are cut. When the replica holds that
 * cycle, both are compared block by block. No byte of either is changed. No cycles are made while it runs, so the logs
 * grow.
 *
 * A cycle before it sends everything that was cut earlier, because the snapshot's cycle must not have been cut before.
 *
 * Restart: digests are in the store, and the comparison continues where the last slice ended. If the job is cancelled
 * or fails, or the host gives up the snapshot, the snapshot is merged, and the entity learns which cycles were made.
 */
import { counted } from '../domain/counted.js';
import type { Job, VerifyResult } from '../domain/job.js';
import type { JobRun, JobSuccess } from './job-run.js';
import { mergeSnapshot } from './copy-disks.js';
import type { JobInput } from './messages.js';
import { replicateOnce } from './replicate-once.js';
import { runJob } from './run-job.js';
import { StepFailure } from './step-failure.js';

/** At most this many differing ranges are listed; their number is always reported. */
const RANGES_TOLD = 100;

const AGAIN = 'The data is not affected. Free space on the volume that holds the source disks, then verify again.';

type Run = JobRun<'verifyReplica'>;
type Found = Pick<VerifyResult, 'blocks' | 'differingBlocks' | 'differingRanges' | 'ranges'>;

export async function verifyReplica(input: JobInput): Promise<Job> {
  return runJob(input, 'verifyReplica', async (run) => {
    try {
      return await verify(run);
    } catch (error) {
      throw withoutMark(error);
    }
  });
}

async function verify(run: Run): Promise<JobSuccess> {
  const { vm, epoch, nextSequence } = run.input;
  const sequence = nextSequence + 1;
  const { disks } = await run.step('list the disks', () => run.source.checkSource({ vm }));
  const before = await run.task('Synchronizing the changes held in the logs', () =>
    replicateOnce(run, { vm, epoch, sequence: nextSequence }),
  );
  run.known = before.outcome;
  run.compensateWith('mergeSnapshot');
  const cycle = await run.task('Taking a VM snapshot', async () => {
    await run.step('take a VM snapshot and cut the logs', () => run.source.snapshotAndCut({ vm, epoch, sequence }));
    return replicateOnce(run, { vm, epoch, sequence });
  });
  run.known = cycle.outcome;
  const found = await run.task('Comparing the virtual disks', () => compare(run, sequence, disks));
  const equal = found.differingBlocks === 0;
  const damage = `a verification of the state of ${cycle.shipped.sealedAt} found ${counted(found.differingRanges, 'differing range')}`;
  await run.task('Deleting the VM snapshot', async () => {
    await mergeSnapshot(run);
    await run.step('delete the digests', () => run.target.endVerification({ vm, epoch, ...(!equal && { damage }) }));
  });
  const result: VerifyResult = { equal, sequence, at: cycle.shipped.sealedAt, ...found };
  const resyncCause = `a verification found ${counted(found.differingRanges, 'differing range')} in the replica`;
  return { ...cycle.outcome, ...(!equal && { resyncCause }), result };
}

/** If the snapshot is lost, the verification has no result, but the data is unaffected: the VM is not marked. */
function withoutMark(error: unknown): unknown {
  if (!(error instanceof StepFailure) || error.failure.code !== 'SnapshotGivenUp') return error;
  return new StepFailure({ ...error.failure, class: 'nonRecoverable', remedy: AGAIN });
}

async function compare(run: Run, sequence: number, disks: readonly { name: string; size: number }[]): Promise<Found> {
  const { vm, epoch } = run.input;
  const total = disks.reduce((sum, { size }) => sum + size, 0);
  let before = 0;
  let found: Found = { blocks: 0, differingBlocks: 0, differingRanges: 0, ranges: [] };
  for (const { name: disk, size } of disks) {
    await run.step(`digest the replica of disk ${disk}`, () =>
      run.target.digestForVerification({ vm, epoch, sequence, disk }),
    );
    const start = { fromOffset: 0, found };
    const end = await run.loop(
      `compare disk ${disk}`,
      start,
      async ({ fromOffset }) => {
        const slice = await run.source.compareDisk({ vm, epoch, sequence, disk, fromOffset });
        await run.report(Math.min(total, before + slice.nextOffset), total, 0);
        return slice;
      },
      (state, slice) => ({
        state: { fromOffset: slice.nextOffset, found: together(state.found, disk, slice) },
        done: slice.done,
      }),
    );
    ({ found } = end);
    before += size;
  }
  return found;
}

const together = (
  found: Found,
  disk: string,
  slice: { blocks: number; differingBlocks: number; ranges: readonly { offset: number; length: number }[] },
): Found => ({
  blocks: found.blocks + slice.blocks,
  differingBlocks: found.differingBlocks + slice.differingBlocks,
  differingRanges: found.differingRanges + slice.ranges.length,
  ranges: [...found.ranges, ...slice.ranges.map((range) => ({ disk, ...range }))].slice(0, RANGES_TOLD),
});
