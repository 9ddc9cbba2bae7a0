import type { AskedJob } from './job-definition.js';
import { unmarked } from '../resync-mark.js';
import { yes } from '../permission.js';

const tasks = [
  'Prerequisites check for resynchronization',
  'Identifying the replication target',
  'Starting resynchronization',
  'Comparing the virtual disks',
  'Verifying the replica',
  'Deleting the VM snapshot',
  'Synchronizing the changes held in the logs',
] as const;

export const resynchronize: AskedJob<'resynchronize', typeof tasks> = {
  kind: 'resynchronize',
  title: 'Resynchronize',
  tasks,
  allowed: (item, { busy, inPhase }) =>
    busy ??
    (item.phase === 'Seeding' && item.resync
      ? yes
      : (inPhase('Protected', 'only a protected VM can be resynchronized') ?? yes)),
  hasOwnUpdate: true,
  withoutHost: 'waits',
  settles: () => ['mergeSnapshot'],
  succeeded(item, ended, { at }) {
    const { begunSequence: _b, requestedSequence: _r, ...equal } = unmarked(ended);
    return item.phase === 'Protected' ? { ...equal, cycleDueAt: at } : equal;
  },
  // A resynchronization may have replaced the end of an initial replication.
  followedBy: (phase) => (phase === 'Seeding' ? 'finalizeProtection' : undefined),
};
