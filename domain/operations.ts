/** What may be asked of a protected item in which state, and why not the rest. */
import { jobTitles, type JobKind } from './job.js';
import { phaseText, seedingStopped, type Phase, type ProtectedItem } from './protected-item.js';

export const operations = [
  'enableProtection',
  'sync',
  'retry',
  'resynchronize',
  'plannedFailover',
  'commitFailover',
] as const;
/** Operations that are a job: accepted at once, done in the background. */
export const jobOperations = [
  'enableProtection',
  'plannedFailover',
  'commitFailover',
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
  const inPhase = (wanted: Phase, what: string) =>
    item.phase === wanted ? undefined : no(`${what}; it is ${phaseText[item.phase]}`);
  return {
    enableProtection:
      item.phase === 'Unprotected' ? (busy ?? yes) : no(`the VM is protected already: it is ${phaseText[item.phase]}`),
    sync: busy ?? inPhase('Protected', 'only a protected VM is synchronized') ?? resync ?? yes,
    retry: item.retry || item.job?.retry || seedingStopped(item) ? yes : no('nothing is waiting for a retry'),
    resynchronize:
      busy ??
      (item.phase === 'Seeding' && item.resync
        ? yes
        : (inPhase('Protected', 'only a protected VM can be resynchronized') ?? yes)),
    plannedFailover: busy ?? inPhase('Protected', 'only a protected VM can be failed over') ?? resync ?? yes,
    commitFailover: busy ?? inPhase('FailedOver', 'there is no failover to commit') ?? yes,
  };
}
