import type { AskedJob } from './job-definition.js';
import { yes } from '../permission.js';

const tasks = [
  'Prerequisites check for planned failover',
  'Shut down the virtual machine',
  'Preparing for failover',
  'Start failover',
  'Start the replica virtual machine',
] as const;

export const plannedFailover: AskedJob<'plannedFailover', typeof tasks> = {
  kind: 'plannedFailover',
  title: 'Planned failover',
  tasks,
  // Allowed while paused: the failover sends the remaining changes in a cycle of its own, so none of them are lost.
  allowed: (_, { busy, inPhase, resync }) =>
    busy ?? inPhase('Protected', 'only a protected VM can be failed over') ?? resync ?? yes,
  withoutHost: 'refused',
  mayLeave: () => ['startSource'],
  settles: () => ['startSource', 'mergeSnapshot'],
  // After a failure, the source runs again.
  goesOn: () => true,
  succeeded(_, ended) {
    // The trouble of the host that the VM has left must not come up in a later job.
    const { cycleDueAt: _due, paused: _p, hostTrouble: _h, ...stopped } = ended;
    return { ...stopped, phase: 'FailedOver', activeSide: 'recovery' };
  },
};
