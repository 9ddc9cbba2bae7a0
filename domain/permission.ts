/** Whether something may be asked of a VM, and what keeps it from it. */
import { phaseText, type Phase, type ProtectedItem } from './protected-item.js';
import { titleOf } from './jobs/job-definition.js';

export type Permission =
  | {
      allowed: true;
      /** What it stands still for once it is asked for. */
      waitsFor?: string;
    }
  | { allowed: false; reason: string };

export const yes: Permission = { allowed: true };
export const no = (reason: string): Permission => ({ allowed: false, reason });

type Refusal = Permission | undefined;

/** What keeps many things from being asked for. Each is undefined where it does not. */
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
    busy: busyWith && no(`the job "${titleOf(busyWith.kind)}" is running (${busyWith.jobId})`),
    resync: item.resync && no('the VM is marked for resynchronization'),
    paused: item.paused && no(`its replication has been paused since ${item.paused.since}`),
    inPhase: (wanted, what) => (item.phase === wanted ? undefined : no(`${what}; it is ${phaseText[item.phase]}`)),
  };
}
