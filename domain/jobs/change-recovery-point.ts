import type { AskedJob } from './job-definition.js';
import { yes } from '../permission.js';

const tasks = [
  'Prerequisites check for changing the recovery point',
  'Shut down the replica virtual machine',
  'Changing the recovery point',
  'Start the replica virtual machine',
] as const;

export const changeRecoveryPoint: AskedJob<'changeRecoveryPoint', typeof tasks> = {
  kind: 'changeRecoveryPoint',
  title: 'Change recovery point',
  tasks,
  // After the commit, there is no other point left.
  allowed: (_, { busy, inPhase }) =>
    busy ?? inPhase('FailedOver', 'the recovery point can be changed only between a failover and its commit') ?? yes,
  mayLeave: () => ['startReplica'],
  settles: () => ['startReplica'],
  succeeded: (_, ended) => ended,
};
