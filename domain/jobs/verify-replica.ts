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
    busy ?? inPhase('Protected', 'only a protected VM can be verified') ?? resync ?? paused ?? yes,
  withoutHost: 'waits',
  mayLeave: () => ['mergeSnapshot'],
  settles: () => ['mergeSnapshot'],
  goesOn: () => true,
  succeeded(item, ended, { at, result: { resyncCause } }) {
    // Cycles that came due during the job were not missed: they are made up for immediately.
    const due = item.phase === 'Protected' ? { ...ended, cycleDueAt: at } : ended;
    return resyncCause === undefined ? due : marked(due, resyncCause, at);
  },
};
