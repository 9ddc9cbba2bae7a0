/**
 * Job "Finalize protection on the virtual machine": sets the network and other settings of the replica VM. The VM is
 * Protected afterwards.
 */
import type { Job } from '../domain/job.js';
import { runJob } from './run-job.js';
import type { JobInput } from './messages.js';

export async function finalizeProtection(input: JobInput): Promise<Job> {
  return runJob(input, 'finalizeProtection', async (run) => {
    const { vm, epoch } = run.input;
    await run.task('Finalize protection on the virtual machine', async () => {
      const networkAdapters = await run.step('resolve the networks', () => run.sourceFabric.resolveNetworks({ vm }));
      await run.step('set up the replica VM', () => run.target.finalizeReplica({ vm, epoch, networkAdapters }));
    });
    return {};
  });
}
