import type { AskedJob } from './job-definition.js';
import { no, yes, type Permission } from '../permission.js';
import type { ProtectedItem } from '../protected-item.js';
import { marked } from '../resync-mark.js';
import { startHypervisor, startProvider } from '../start-again.js';

const START_SOURCE = 'Start the virtual machine';

const tasks = [
  'Prerequisites check for cancelling the failover',
  'Shut down the replica virtual machine',
  'Returning to the primary site',
  START_SOURCE,
  'Delete the replica virtual machine',
] as const;

export const cancelFailover: AskedJob<'cancelFailover', typeof tasks> = {
  kind: 'cancelFailover',
  title: 'Cancel failover',
  tasks,
  allowed: (item, { busy, inPhase }) =>
    busy ?? inPhase('FailedOver', 'there is no failover that could be cancelled') ?? fenceOwed(item) ?? yes,
  withoutHost: 'refused',
  mayLeave: () => ['startReplica'],
  settles: () => ['startReplica', 'startSource', 'mergeSnapshot', 'stopTracking'],
  succeeded(_, ended, { at, result: { resyncCause } }) {
    const { sourceRan: _ran, sourceFence: _fence, hostTrouble: _h, begunSequence: _b, ...rest } = ended;
    const { requestedSequence: _r, applied, ...home }: ProtectedItem = { ...rest, activeSide: 'primary' };
    // An unplanned failover may have come before the end of its initial replication.
    const isFinalized = home.protectedSince !== undefined;
    if (resyncCause === undefined && isFinalized) {
      // The replica was proven equal: the first cycle of the new epoch is next.
      return { ...home, phase: 'Protected', nextSequence: 1, cycleDueAt: at };
    }
    const cause = resyncCause ?? 'its failover was cancelled before its initial replication was finished';
    const phase = isFinalized ? 'Protected' : 'Seeding';
    const { resync, ...unprotected } = marked({ ...home, ...(applied && { applied }), phase }, cause, at);
    // Nothing protects the VM until then, so it does not wait for its window.
    return { ...unprotected, resync: { ...resync!, dueAt: at } };
  },
};

/**
 * Its failover is being cancelled, or a job that did so ended early: the VM may run at neither site until its source is
 * started. If the primary site is lost meanwhile, an unplanned failover brings it back.
 */
export const isHalfCancelled = ({ phase, job, leftovers = [] }: ProtectedItem): boolean =>
  phase === 'FailedOver' &&
  (job
    ? job.kind === cancelFailover.kind && job.task === START_SOURCE
    : leftovers.some(({ kind }) => kind === cancelFailover.kind));

/** While it is owed, the source may be turned off at any moment. */
function fenceOwed({ sourceFence, host, vmmServer }: ProtectedItem): Permission | undefined {
  if (!sourceFence) return undefined;
  const tried = sourceFence.problem === undefined ? '' : ` (the last attempt failed: ${sourceFence.problem.message})`;
  return no(
    `its source has not been turned off and fenced since the failover${tried}; Farshore does that within a minute once its hypervisor and its Provider answer. Start whichever is down: ${startHypervisor(host)}, and ${startProvider(vmmServer)}`,
  );
}
