/**
 * Job "Initial replication": the disks of the VM snapshot are copied one by one and read back, the snapshot is merged
 * away, and the changes made meanwhile are sent.
 * Restart: goes on at the offset the last slice ended with; within a slice, at the store's own record of what arrived.
 */
import type { Job } from '../domain/job.js';
import type { JobRun } from './job-run.js';
import { mergeSnapshot } from './merge-snapshot.js';
import { runJob } from './run-job.js';
import type { JobInput } from './messages.js';
import { replicateOnce } from './replicate-once.js';

type Run = JobRun<'initialReplication'>;

export async function initialReplication(input: JobInput): Promise<Job> {
  return runJob(input, 'initialReplication', async (run) => {
    const { vm, epoch, nextSequence } = run.input;
    const { disks } = await run.step('list the disks', () => run.agent.checkSource({ vm }));
    await run.task('Copying the virtual disks', () => copyDisks(run, disks));
    await run.task('Verifying the replica', () => verifyDisks(run, disks));
    await run.task('Deleting the VM snapshot', () => mergeSnapshot(run));
    const cycle = await run.task('Synchronizing the changes held in the logs', () =>
      replicateOnce(run, { vm, epoch, sequence: nextSequence, final: false }),
    );
    return { ...cycle.outcome, result: { bytesSent: run.job.progress?.bytesDone ?? 0 } };
  });
}

async function copyDisks(run: Run, disks: readonly { name: string; size: number }[]): Promise<void> {
  const { vm, epoch } = run.input;
  const total = disks.reduce((sum, disk) => sum + disk.size, 0);
  let before = 0;
  for (const disk of disks) {
    await run.loop(
      `copy disk ${disk.name}`,
      0,
      async (fromOffset) => {
        const slice = await run.agent.copyDisk({ vm, epoch, disk: disk.name, fromOffset });
        await run.report(before + slice.nextOffset, total);
        return slice;
      },
      (_, slice) => ({ state: slice.nextOffset, done: slice.done }),
    );
    before += disk.size;
  }
}

/** A disk that differs is sent again: the slices that differ have lost their records, the others are not sent twice. */
async function verifyDisks(run: Run, disks: readonly { name: string }[]): Promise<void> {
  const { vm, epoch } = run.input;
  for (const { name: disk } of disks) {
    let attempts = 0;
    await run.step(`verify disk ${disk}`, async () => {
      attempts += 1;
      if (attempts > 1) await sendWhatIsMissing(run, disk);
      await run.azure.verifySeed({ vm, epoch, disk });
    });
  }
}

async function sendWhatIsMissing(run: Run, disk: string): Promise<void> {
  const { vm, epoch } = run.input;
  let offset = 0;
  for (;;) {
    const slice = await run.agent.copyDisk({ vm, epoch, disk, fromOffset: offset });
    if (slice.done) return;
    offset = slice.nextOffset;
  }
}
