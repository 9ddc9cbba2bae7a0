import type { AskedJob } from './job-definition.js';
import { no, yes } from '../permission.js';
import { phaseText } from '../protected-item.js';
import { unmarked } from '../resync-mark.js';

const FENCE_OWED =
  'its source has still to be told that the VM runs at the recovery site. If the primary site does not exist any more, end what is left of its protection first, with --primary-lost';

const tasks = [
  'Prerequisites check for enabling protection',
  'Identifying the replication target',
  'Enable replication',
  'Starting initial replication',
  'Updating the provider states',
] as const;

export const enableProtection: AskedJob<'enableProtection', typeof tasks> = {
  kind: 'enableProtection',
  title: 'Enable protection',
  tasks,
  allowed: (item, { busy }) =>
    item.phase === 'Unprotected'
      ? (busy ?? (item.sourceFence && no(FENCE_OWED)) ?? yes)
      : no(`the VM is protected already${item.phase === 'Protected' ? '' : `: it is ${phaseText[item.phase]}`}`),
  mayLeave: () => ['stopTracking'],
  settles: () => ['stopTracking', 'mergeSnapshot'],
  succeeded(item, ended) {
    const { begunSequence: _b, requestedSequence: _r, ...fresh } = ended;
    return { ...unmarked(fresh), phase: 'Seeding', nextSequence: ended.epoch > item.epoch ? 1 : ended.nextSequence };
  },
  followedBy: () => 'initialReplication',
};
