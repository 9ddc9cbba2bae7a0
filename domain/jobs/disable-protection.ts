import type { AskedJob } from './job-definition.js';
import { no, yes } from '../permission.js';
import { phaseText } from '../protected-item.js';
import { undoings } from '../undoing.js';

const tasks = ['Disabling protection at the primary site', 'Clearing up at the recovery site'] as const;

export const disableProtection: AskedJob<'disableProtection', typeof tasks> = {
  kind: 'disableProtection',
  title: 'Disable protection',
  tasks,
  // While a failover is open, the operator has not decided yet which side's data to keep.
  allowed({ vm, phase, leftovers, sourceFence, drill }, { busy }) {
    if (busy) return busy;
    // Its test VM runs from a recovery point that this would delete.
    if (drill) return no(`a test failover of it exists; first run: farshore cleanup-test-failover ${vm} --wait`);
    // Allowed again, to waive leftovers and fencing at a primary site that no longer exists.
    if (phase === 'Unprotected') return leftovers || sourceFence ? yes : no('the VM is not protected');
    if (phase === 'FailedOver')
      return no(
        `the VM is ${phaseText[phase]}; commit first: farshore commit ${vm}, or cancel the failover: farshore cancel-failover ${vm}`,
      );
    if (phase === 'FailedBack') return no(`the VM is ${phaseText[phase]}; commit first: farshore commit ${vm}`);
    return yes;
  },
  withoutHost: 'waits',
  // Does not settle `startSource` unless the primary site is lost: the source stays off, and the operator has to know.
  settles: (parameters) => (parameters?.primaryLost ? undoings : ['mergeSnapshot', 'stopTracking']),
  succeeded(item, ended) {
    const { cycleDueAt: _d, shipped: _s, applied: _a, latestRecoveryPoint: _l, resync: _r, ...left } = ended;
    const { paused: _p, protectedSince: _ps, hostTrouble, sourceRan: _sr, sourceFence, ...rest } = left;
    // The fence stays owed unless the primary site no longer exists.
    const isOwed = sourceFence && !item.job?.parameters?.primaryLost;
    const owed = isOwed && { sourceFence, ...(hostTrouble && { hostTrouble }) };
    return { ...rest, ...owed, phase: 'Unprotected', cycleHistory: [] };
  },
};
