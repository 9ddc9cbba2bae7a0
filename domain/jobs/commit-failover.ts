import type { AskedJob } from './job-definition.js';
import { yes } from '../permission.js';

const tasks = ['Prerequisites check for commit', 'Commit'] as const;

export const commitFailover: AskedJob<'commitFailover', typeof tasks> = {
  kind: 'commitFailover',
  title: 'Commit',
  tasks,
  allowed: ({ phase }, { busy, inPhase }) =>
    busy ?? (phase === 'FailedBack' ? yes : (inPhase('FailedOver', 'there is no failover to commit') ?? yes)),
  // It has found the replica VM running.
  settles: () => ['startReplica'],
  succeeded(item, ended) {
    // What the source had written after the failover is overwritten by the commit of a failback.
    const { sourceRan, ...rest } = ended;
    return { ...rest, ...(sourceRan && item.phase !== 'FailedBack' && { sourceRan }), phase: 'Committed' };
  },
};
