import type { AskedJob } from './job-definition.js';
import { no, yes } from '../permission.js';
import { titleOf } from './job-definition.js';

const tasks = ['Prerequisites check', 'Ending test failover', 'Clean up the test virtual machine'] as const;

export const cleanupTestFailover: AskedJob<'cleanupTestFailover', typeof tasks> = {
  kind: 'cleanupTestFailover',
  title: 'Test failover cleanup',
  tasks,
  // In every phase: a real failover leaves the test VM running.
  allowed({ drill }) {
    if (!drill) return no('there is no test failover to clean up');
    const { job, requested } = drill;
    const running = job ?? requested;
    if (!running) return yes;
    const end =
      running.kind === 'testFailover'
        ? `; to end it early: farshore job cancel ${running.jobId}; what it has made is then cleaned up automatically`
        : '';
    return no(`the job "${titleOf(running.kind)}" is running (${running.jobId})${end}`);
  },
  beside: true,
  succeeded: (_, ended) => ended,
};
