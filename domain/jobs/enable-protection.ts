import type { AskedJob } from './job-definition.js';
import { no, yes } from '../permission.js';
import { phaseText } from '../protected-item.js';
import { unmarked } from '../resync-mark.js';

const fenceOwed = (vm: string) =>
  no(
    `its source is not fenced yet; that happens once its hypervisor and its Provider answer. If the primary site no longer exists, first run: farshore unprotect ${vm} --primary-lost`,
  );

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
      ? (busy ?? (item.sourceFence && fenceOwed(item.vm)) ?? yes)
      : no(`the VM is already protected${item.phase === 'Protected' ? '' : ` (${phaseText[item.phase]})`}`),
  mayLeave: () => ['stopTracking'],
  settles: () => ['stopTracking', 'mergeSnapshot'],
  succeeded(item, ended) {
    const { begunSequence: _b, requestedSequence: _r, ...fresh } = ended;
    return { ...unmarked(fresh), phase: 'Seeding', nextSequence: ended.epoch > item.epoch ? 1 : ended.nextSequence };
  },
  followedBy: () => 'initialReplication',
};
