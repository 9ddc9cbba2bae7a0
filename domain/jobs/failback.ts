import type { AskedJob } from './job-definition.js';
import { no, yes } from '../permission.js';
import type { ProtectedItem } from '../protected-item.js';

/** Before this task, the job waits for an operator unless it was told not to. */
export const SHUT_DOWN_REPLICA = 'Shut down the replica virtual machine';

/** While it waits before the next task, the VM runs at the recovery site. */
export const WAITING = 'Waiting for the failback to be completed';

const tasks = [
  'Prerequisites check for failback',
  'Preparing the disks at the primary site',
  'Synchronizing the changes',
  WAITING,
  SHUT_DOWN_REPLICA,
  'Synchronizing the last changes',
  'Handing over to the primary site',
  'Start the virtual machine',
] as const;

/** Whether a running failback has shut the VM down at the recovery site; it does not run at the primary site yet. */
export const isOffForFailback = ({ job }: Pick<ProtectedItem, 'job'>): boolean =>
  job?.kind === 'failback' && tasks.findIndex((name) => name === job.task) > tasks.indexOf(SHUT_DOWN_REPLICA);

export const failback: AskedJob<'failback', typeof tasks> = {
  kind: 'failback',
  title: 'Failback',
  tasks,
  allowed: ({ vm, host, activeSide, phase, sourceFence }, { busy, inPhase }) =>
    busy ??
    (phase === 'FailedOver' ? no(`its failover is not committed; first run: farshore commit ${vm}`) : undefined) ??
    (phase === 'Committed' && activeSide === 'primary'
      ? no(`it already runs at the primary site; to protect it again: farshore reverse-replicate ${vm}`)
      : undefined) ??
    inPhase('Committed', 'only a VM that was failed over can be failed back') ??
    (sourceFence &&
      no(`its source on host ${host} is not fenced yet; that happens once its hypervisor and its Provider answer`)) ??
    yes,
  withoutHost: 'refused',
  mayLeave: () => ['startReplica', 'discardFailback', 'endFailback'],
  settles: () => ['startReplica', 'discardFailback', 'endFailback'],
  succeeded: (_, ended) => ({ ...ended, phase: 'FailedBack', activeSide: 'primary' }),
};
