/** What may be asked of a protected item in which state, and why not the rest. */
import { jobTitles, type JobKind } from './job.js';
import { phaseText, seedingStopped, type Phase, type ProtectedItem } from './protected-item.js';

export const operations = [
  'enableProtection',
  'sync',
  'retry',
  'pause',
  'resume',
  'setPolicy',
  'resynchronize',
  'plannedFailover',
  'unplannedFailover',
  'commitFailover',
  'disableProtection',
  'verifyReplica',
] as const;
/** Operations that are a job: accepted at once, done in the background. */
export const jobOperations = [
  'enableProtection',
  'plannedFailover',
  'unplannedFailover',
  'commitFailover',
  'disableProtection',
  'verifyReplica',
] as const satisfies readonly (Operation & JobKind)[];
export type JobOperation = (typeof jobOperations)[number];
export type Operation = (typeof operations)[number];
export type Permission = { allowed: true } | { allowed: false; reason: string };

const yes: Permission = { allowed: true };
const no = (reason: string): Permission => ({ allowed: false, reason });

/** What may be asked of the VM now, and why not the rest. */
export function allowedOperations(item: ProtectedItem): Record<Operation, Permission> {
  const busyWith = item.job ?? item.pending[0];
  const busy = busyWith && no(`the job "${jobTitles[busyWith.kind]}" is running (${busyWith.jobId})`);
  const resync = item.resync && no('the VM is marked for resynchronization');
  const paused = item.paused && no(`its replication has been paused since ${item.paused.since}`);
  const inPhase = (wanted: Phase, what: string) =>
    item.phase === wanted ? undefined : no(`${what}; it is ${phaseText[item.phase]}`);
  return {
    enableProtection:
      item.phase === 'Unprotected'
        ? (busy ?? yes)
        : no(`the VM is protected already${item.phase === 'Protected' ? '' : `: it is ${phaseText[item.phase]}`}`),
    sync: busy ?? inPhase('Protected', 'only a protected VM is synchronized') ?? resync ?? paused ?? yes,
    retry: item.retry || item.job?.retry || seedingStopped(item) ? yes : no('nothing is waiting for a retry'),
    pause: busy ?? inPhase('Protected', 'only the replication of a protected VM is paused') ?? paused ?? yes,
    resume: item.paused ? yes : no('its replication is not paused'),
    setPolicy: item.phase === 'Unprotected' ? no('the VM is not protected') : yes,
    resynchronize:
      busy ??
      (item.phase === 'Seeding' && item.resync
        ? yes
        : (inPhase('Protected', 'only a protected VM can be resynchronized') ?? yes)),
    // Allowed while paused: the failover sends what is left in a cycle of its own, so nothing of the pause is lost.
    plannedFailover: busy ?? inPhase('Protected', 'only a protected VM can be failed over') ?? resync ?? yes,
    unplannedFailover: unplannedFailoverOf(item),
    commitFailover: busy ?? inPhase('FailedOver', 'there is no failover to commit') ?? yes,
    verifyReplica: busy ?? inPhase('Protected', 'only a protected VM is verified') ?? resync ?? paused ?? yes,
    disableProtection: busy ?? disablable(item.phase),
  };
}

/** It does not wait for what runs, but takes over from it; a replica that is marked or Critical will do. */
function unplannedFailoverOf(item: ProtectedItem): Permission {
  if (item.phase !== 'Protected' && item.phase !== 'Seeding') {
    return no(`only a protected VM can be failed over; it is ${phaseText[item.phase]}`);
  }
  const same = [item.job, ...item.pending].find((job) => job?.kind === 'unplannedFailover');
  if (same) return no(`the job "${jobTitles[same.kind]}" is running (${same.jobId})`);
  return item.latestRecoveryPoint || item.applied ? yes : no('there is no recovery point yet');
}

/** While a failover is open nobody has decided yet which side's data is the one to keep. */
function disablable(phase: Phase): Permission {
  if (phase === 'Unprotected') return no('the VM is not protected');
  if (phase === 'FailedOver' || phase === 'FailedBack') return no(`the VM is ${phaseText[phase]}; commit that first`);
  return yes;
}
