/**
 * Job "Enable protection". It ends when initial replication has been started, and does not wait for it.
 *
 * Restart: every step is repeatable within the epoch that `identifyTarget` returned. If the job is cancelled or fails,
 * tracking is stopped and the snapshot removed, so that the VM is as before.
 */
import type { Job } from '../domain/job.js';
import { runJob } from './run-job.js';
import type { JobInput } from './messages.js';

export async function enableProtection(input: JobInput): Promise<Job> {
  return runJob(input, 'enableProtection', async (run) => {
    const { vm } = run.input;
    const { description, trackedEpoch } = await run.task('Prerequisites check for enabling protection', async () => {
      const description = await run.step('check that the VM can be protected', () =>
        run.sourceFabric.checkProtectable({ vm }),
      );
      const { trackedEpoch } = await run.step('check the host', () => run.source.checkSource({ vm }));
      return { description, trackedEpoch };
    });
    const epoch = await run.task('Identifying the replication target', async () => {
      const { networkAdapters } = description;
      const target = await run.step('identify the target', () =>
        run.target.identifyTarget({ vm, networkAdapters, trackedEpoch }),
      );
      return target.epoch;
    });
    await run.task('Enable replication', () =>
      run.step('create the replica disks', () => run.target.prepareReplica({ description: { ...description, epoch } })),
    );
    run.compensateWith('stopTracking');
    await run.task('Starting initial replication', () =>
      run.step('take a VM snapshot and start tracking', () => run.source.beginReplication({ vm, epoch })),
    );
    await run.task('Updating the provider states', () =>
      run.step('update the provider states', () => run.sourceFabric.updateProviderState({ vm, epoch })),
    );
    return { epoch };
  });
}
