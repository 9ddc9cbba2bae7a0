/**
 * Job "Reverse replicate": protects a VM again that was failed back. Ends without waiting for the synchronization: the
 * job "Resynchronize" follows, which compares both sites and sends only the differences.
 */
import type { Job } from '../domain/job.js';
import type { JobInput } from './messages.js';
import { runJob } from './run-job.js';

export async function reverseReplicate(input: JobInput): Promise<Job> {
  return runJob(input, 'reverseReplicate', async (run) => {
    const { vm } = run.input;
    const { trackedEpoch, networkAdapters } = await run.task('Identifying the replication target', async () => {
      const { networkAdapters } = await run.step('check that the VM can be protected', () =>
        run.sourceFabric.checkProtectable({ vm }),
      );
      return { networkAdapters, ...(await run.step('check the host', () => run.source.checkSource({ vm }))) };
    });
    await run.task('Enable replication', () =>
      run.step('check the networks', () => run.target.identifyTarget({ vm, networkAdapters, trackedEpoch })),
    );
    return {};
  });
}
