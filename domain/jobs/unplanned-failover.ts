import type { AskedJob } from './job-definition.js';
import { isHalfCancelled } from './cancel-failover.js';
import { hostSilence } from '../host-silence.js';
import { no, yes } from '../permission.js';
import { phaseText } from '../protected-item.js';

const TITLE = 'Unplanned failover';

const tasks = [
  'Prerequisites check for unplanned failover',
  'Shut down the virtual machine',
  'Preparing for failover',
  'Start failover',
  'Start the replica virtual machine',
] as const;

export const unplannedFailover: AskedJob<'unplannedFailover', typeof tasks> = {
  kind: 'unplannedFailover',
  title: TITLE,
  tasks,
  // It does not wait for a running job but takes over from it. A marked or Critical replica is allowed.
  allowed(item) {
    if (item.phase !== 'Protected' && item.phase !== 'Seeding' && !isHalfCancelled(item)) {
      return no(`only a protected VM can be failed over; this VM is ${phaseText[item.phase]}`);
    }
    const same = [item.job, ...item.pending].find((job) => job?.kind === 'unplannedFailover');
    if (same) return no(`the job "${TITLE}" is running (${same.jobId})`);
    return item.latestRecoveryPoint || item.applied ? yes : no('there is no recovery point to fail over to yet');
  },
  takesOver: true,
  mayLeave: (parameters) => (parameters?.tryShutDown ? ['startSource'] : []),
  settles: () => ['startSource', 'mergeSnapshot'],
  // After a failure, the source runs again.
  goesOn: (item) => item.phase === 'Protected' && !item.resync,
  succeeded(item, ended, { at }) {
    const { cycleDueAt: _due, resync: _resync, retry: _retry, paused: _p, ...stopped } = ended;
    const silentAt = item.job?.parameters?.hostSilentAt ?? hostSilence(item)?.since;
    return {
      ...stopped,
      phase: 'FailedOver',
      activeSide: 'recovery',
      // Waiting jobs were meant for a VM that runs at the primary site.
      pending: [],
      sourceFence: { epoch: ended.epoch, since: at, ...(silentAt !== undefined && { hostSilentAt: silentAt }) },
    };
  },
};
