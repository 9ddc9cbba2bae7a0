import type { AskedJob } from './job-definition.js';
import { marked } from '../resync-mark.js';
import { yes } from '../permission.js';

const tasks = [
  'Synchronizing the changes held in the logs',
  'Taking a VM snapshot',
  'Comparing the virtual disks',
  'Deleting the VM snapshot',
] as const;

export const verifyReplica: AskedJob<'verifyReplica', typeof tasks> = {
  kind: 'verifyReplica',
  title: 'Verify replication',
  tasks,
  allowed: (_, { busy, inPhase, resync, paused }) =>
    busy ?? inPhase('Protected', 'only a protected VM is verified') ?? resync ?? paused ?? yes,
  withoutHost: 'waits',
  mayLeave: () => ['mergeSnapshot'],
  settles: () => ['mergeSnapshot'],
  goesOn: () => true,
  succeeded(item, ended, { at, result: { resyncCause } }) {
    // The cycles that were due meanwhile have not been missed: they are made good at once.
    const due = item.phase === 'Protected' ? { ...ended, cycleDueAt: at } : ended;
    return resyncCause === undefined ? due : marked(due, resyncCause, at);
  },
};
