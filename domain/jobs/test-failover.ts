import { testNameProblem } from '../drill.js';
import type { AskedJob } from './job-definition.js';
import { no, yes } from '../permission.js';
import { titleOf } from './job-definition.js';

const tasks = [
  'Prerequisites check for test failover',
  'Starting test failover',
  'Creating test virtual machine',
  'Start the virtual machine',
  'Checking the test virtual machine',
] as const;

/** Jobs that end or move the protection; a test failover does not begin beside them. */
const LEAVING: readonly string[] = ['plannedFailover', 'unplannedFailover', 'disableProtection'];

export const testFailover: AskedJob<'testFailover', typeof tasks> = {
  kind: 'testFailover',
  title: 'Test failover',
  tasks,
  // Allowed while paused and beside jobs that only read the VM: it uses a recovery point that exists.
  allowed(item, { inPhase, resync }) {
    const { vm, drill, job, pending, latestRecoveryPoint } = item;
    if (drill) return no(`a test failover of it exists; first run: farshore cleanup-test-failover ${vm} --wait`);
    const leaving = [job, ...pending].find((each) => each && LEAVING.includes(each.kind));
    if (leaving) return no(`the job "${titleOf(leaving.kind)}" is running (${leaving.jobId}); wait until it has ended`);
    const refusal = inPhase('Protected', 'only a protected VM can be tested') ?? resync;
    if (refusal) return refusal;
    if (!latestRecoveryPoint) return no(`there is no recovery point to test yet; make one: farshore sync ${vm} --wait`);
    const problem = testNameProblem(vm);
    return problem === undefined ? yes : no(`${problem}; protect the VM under a shorter name`);
  },
  beside: true,
  succeeded: (_, ended) => ended,
};
