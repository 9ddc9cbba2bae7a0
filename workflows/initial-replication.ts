/**
 * Job "Initial replication": copies the disks of the VM snapshot one by one, reads them back, merges the snapshot, and
 * sends the changes made meanwhile.
 *
 * Restart: continues at the offset where the last slice ended; within a slice, at the store's record of the data that
 * has arrived.
 */
import type { Job } from '../domain/job.js';
import { copyDisks, mergeSnapshot, verifyDisks } from './copy-disks.js';
import { runJob } from './run-job.js';
import type { JobInput } from './messages.js';
import { replicateOnce } from './replicate-once.js';

export async function initialReplication(input: JobInput): Promise<Job> {
  return runJob(input, 'initialReplication', async (run) => {
    const { vm, epoch, nextSequence } = run.input;
    const { disks } = await run.step('list the disks', () => run.source.checkSource({ vm }));
    await run.task('Copying the virtual disks', () => copyDisks(run, epoch, disks));
    await run.task('Verifying the replica', () => verifyDisks(run, epoch, disks));
    await run.task('Deleting the VM snapshot', () => mergeSnapshot(run));
    const cycle = await run.task('Synchronizing the changes held in the logs', () =>
      replicateOnce(run, { vm, epoch, sequence: nextSequence }),
    );
    return { ...cycle.outcome, result: { bytesSent: run.job.progress?.bytesSent ?? 0 } };
  });
}
