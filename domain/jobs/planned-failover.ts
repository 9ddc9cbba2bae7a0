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
  // Allowed while paused: it sends what is left in a cycle of its own, so nothing of the pause is lost.
  allowed: (_, { busy, inPhase, resync }) =>
    busy ?? inPhase('Protected', 'only a protected VM can be failed over') ?? resync ?? yes,
  withoutHost: 'refused',
  mayLeave: () => ['startSource'],
  settles: () => ['startSource', 'mergeSnapshot'],
  // The source runs again.
  goesOn: () => true,
  succeeded(_, ended) {
    // What was found of the host that it has left is nothing that a later job could bring up again.
    const { cycleDueAt: _due, paused: _p, hostTrouble: _h, ...stopped } = ended;
    return { ...stopped, phase: 'FailedOver', activeSide: 'recovery' };
  },
};
