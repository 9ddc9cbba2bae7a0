/**
 * Job "Resynchronize": digests the blocks of both sites and sends only those that differ. The source is a VM snapshot
 * taken at the instant when tracking begins in a new epoch. Recovery points are kept.
 *
 * Restart: continues at the last slice, as the initial copy does. If tracking breaks meanwhile, the VM is marked again.
 */
import type { Job } from '../domain/job.js';
import { compareDisks } from './compare-disks.js';
import { mergeSnapshot, verifyDisks } from './copy-disks.js';
import type { JobInput } from './messages.js';
import { replicateOnce } from './replicate-once.js';
import { runJob } from './run-job.js';

export async function resynchronize(input: JobInput): Promise<Job> {
  return runJob(input, 'resynchronize', async (run) => {
    const { vm } = run.input;
    const { disks, trackedEpoch, networkAdapters, settings } = await run.task(
      'Prerequisites check for resynchronization',
      async () => {
        const { networkAdapters, host, vmmServer, osDisk, hardware } = await run.step(
          'check that the VM can be protected',
          () => run.sourceFabric.checkProtectable({ vm }),
        );
        const source = await run.step('check the host', () => run.source.checkSource({ vm }));
        return { ...source, networkAdapters, settings: { host, vmmServer, osDisk, ...(hardware && { hardware }) } };
      },
    );
    const epoch = await run.task('Identifying the replication target', async () => {
      // Completely received cycles become a recovery point; the comparison finds everything else.
      await run.step('apply the received cycles', () => run.target.applyReceivedCycles({ vm }));
      const target = await run.step('identify the target', () =>
        run.target.identifyTarget({ vm, networkAdapters, trackedEpoch }),
      );
      return target.epoch;
    });
    run.known = { epoch };
    await run.task('Starting resynchronization', async () => {
      await run.step('begin the epoch at the replica', () => run.target.beginResync({ vm, epoch, disks, settings }));
      await run.step('take a VM snapshot and start tracking', () => run.source.beginReplication({ vm, epoch, disks }));
    });
    const digestBytes = await run.task('Comparing the virtual disks', () => compareDisks(run, epoch, disks));
    await run.task('Verifying the replica', () => verifyDisks(run, epoch, disks));
    await run.task('Deleting the VM snapshot', () => mergeSnapshot(run));
    const cycle = await run.task('Synchronizing the changes held in the logs', async () => {
      const first = await replicateOnce(run, { vm, epoch, sequence: 1 });
      await run.step('delete the records of the resynchronization', () => run.target.endResync({ vm, epoch }));
      return first;
    });
    return { epoch, ...cycle.outcome, result: { bytesSent: run.job.progress?.bytesSent ?? 0, digestBytes } };
  });
}
