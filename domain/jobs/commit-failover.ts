import type { AskedJob } from './job-definition.js';
import { yes } from '../permission.js';

const tasks = ['Prerequisites check for commit', 'Commit'] as const;

export const commitFailover: AskedJob<'commitFailover', typeof tasks> = {
  kind: 'commitFailover',
  title: 'Commit',
  tasks,
  allowed: (_, { busy, inPhase }) => busy ?? inPhase('FailedOver', 'there is no failover to commit') ?? yes,
  // It has found the replica VM running.
  settles: () => ['startReplica'],
  succeeded: (_, ended) => ({ ...ended, phase: 'Committed' }),
};
