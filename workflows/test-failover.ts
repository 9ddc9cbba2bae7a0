/**
 * Job "Test failover": makes a test VM from a recovery point, in a network of its own, and boots it. It runs beside
 * replication and touches neither the source nor the replica. The recovery point is held until the clean-up.
 *
 * Restart: each step is repeatable. It undoes nothing: if it ends early, the entity cleans up what it has made.
 */
import { testVmName, type Tested, type TestFailoverResult } from '../domain/drill.js';
import { toFailure } from '../domain/errors.js';
import type { Job } from '../domain/job.js';
import { secondsBetween } from '../domain/time.js';
import type { JobInput } from './messages.js';
import { runJob } from './run-job.js';
import { StepFailure } from './step-failure.js';

export async function testFailover(input: JobInput): Promise<Job> {
  return runJob(input, 'testFailover', async (run) => {
    const { vm, id: jobId, parameters } = run.input;
    const testVm = testVmName(vm);
    const wanted = parameters?.recoveryPoint ?? 'latest';
    await run.task('Prerequisites check for test failover', async () => {
      const checked = await run.step('check the recovery point', () =>
        run.target.checkTestFailover({ vm, testVm, wanted }),
      );
      if (checked.refusal !== undefined) throw new StepFailure(toFailure('PrerequisitesNotMet', checked.refusal));
    });
    // If the job ends early from here on, there may be something to clean up.
    let tested: Tested = { testVm, network: testVm };
    run.known = { tested };
    const { recoveryPoint } = await run.task('Starting test failover', () =>
      run.step('hold the recovery point', () => run.target.beginTestFailover({ vm, testVm, wanted, jobId })),
    );
    tested = { ...tested, recoveryPoint };
    run.known = { tested };
    await run.task('Creating test virtual machine', () =>
      run.step('create the test VM', () => run.target.createTestVm({ vm, testVm, jobId })),
    );
    const { startedAt } = await run.task('Start the virtual machine', () =>
      run.step('boot the test VM', () => run.target.startTestVm({ testVm })),
    );
    const { checks, evidence, ...found } = await run.task(
      'Checking the test virtual machine',
      () => run.step('check the test VM', () => run.target.checkTestVm({ vm, testVm, jobId })),
      ({ problem }) => (problem === undefined ? undefined : { state: 'Failed', reason: problem }),
    );
    tested = { ...tested, ...found };
    const seconds = secondsBetween(run.job.startedAt, startedAt);
    const result: TestFailoverResult = {
      ...{ ...tested, ...found, recoveryPoint },
      ...{ startedAt, seconds, checks, evidence },
    };
    return { tested, result };
  });
}
