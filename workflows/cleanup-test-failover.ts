/**
 * Job "Test failover cleanup": turns the test VM off, deletes it, and no longer holds its recovery point. Needs only
 * the recovery site, so it works in every phase of the VM.
 *
 * Restart: each step is repeatable, and can be done even if there is nothing left to clean up.
 */
import { testVmName } from '../domain/drill.js';
import type { Job } from '../domain/job.js';
import type { JobInput } from './messages.js';
import { runJob } from './run-job.js';

export async function cleanupTestFailover(input: JobInput): Promise<Job> {
  return runJob(input, 'cleanupTestFailover', async (run) => {
    const { vm, parameters } = run.input;
    const testVm = testVmName(vm);
    const { isThere } = await run.task('Prerequisites check', () =>
      run.step('look for the test VM', () => run.target.findTestVm({ testVm })),
    );
    await run.task('Ending test failover', () =>
      run.step('turn off the test VM', () => run.target.endTestFailover({ testVm })),
    );
    const { pointsDeleted } = await run.task('Clean up the test virtual machine', async () => {
      await run.step('delete the test VM', () => run.target.deleteTestVm({ testVm }));
      return run.step('release the recovery point', () => run.target.releaseTestPoint({ vm }));
    });
    const notes = parameters?.notes;
    return { result: { testVm, testVmDeleted: isThere, pointsDeleted, ...(notes !== undefined && { notes }) } };
  });
}
