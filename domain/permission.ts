/** Whether an operation is allowed for a VM, and if not, the reason and the way out. */
import { phaseText, type Phase, type ProtectedItem } from './protected-item.js';
import type { JobRequest } from './running-job.js';
import { titleOf } from './jobs/job-definition.js';

export type Permission =
  | {
      allowed: true;
      /** What the operation waits for once it is requested. */
      waitsFor?: string;
    }
  | { allowed: false; reason: string };

export const yes: Permission = { allowed: true };
export const no = (reason: string): Permission => ({ allowed: false, reason });

type Refusal = Permission | undefined;

/** Refusals that many operations share; each is undefined if it does not apply. */
export interface Gates {
  readonly busy: Refusal;
  /** Marked for resynchronization. */
  readonly resync: Refusal;
  readonly paused: Refusal;
  inPhase(wanted: Phase, what: string): Refusal;
}

export function gatesOf(item: ProtectedItem): Gates {
  const busyWith = item.job ?? item.pending[0];
  return {
    busy:
      busyWith && no(`the job "${titleOf(busyWith.kind)}" is running (${busyWith.jobId}); ${endOf(item.vm, busyWith)}`),
    resync:
      item.resync &&
      no(`the VM is marked for resynchronization; first run: farshore resynchronize ${item.vm} --now --wait`),
    paused:
      item.paused &&
      no(`its replication has been paused since ${item.paused.since}; first run: farshore resume ${item.vm}`),
    inPhase: (wanted, what) => (item.phase === wanted ? undefined : no(`${what}; this VM is ${phaseText[item.phase]}`)),
  };
}

/** A failback may go on until an operator completes it. */
const endOf = (vm: string, { kind, jobId }: Pick<JobRequest, 'kind' | 'jobId'>): string =>
  kind === 'failback'
    ? `complete it: farshore complete-failback ${vm} --wait; or stop it: farshore job cancel ${jobId}`
    : 'wait until it has ended';
