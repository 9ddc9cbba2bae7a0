/** The next command for a VM: the one that takes it further and works in its current state. */
import type { HeldReplica, ReplicaVmPower } from './held-replica.js';
import { hostSilence, type HostSilence } from './host-silence.js';
import type { ProtectedItemView } from './item-view.js';
import { waitsForPerson } from './job.js';
import { isHalfCancelled } from './jobs/cancel-failover.js';
import { WAITING } from './jobs/failback.js';
import { titleOf } from './jobs/known-jobs.js';
import { seedingStopped, type ProtectedItem } from './protected-item.js';
import { BEFORE_THAT, startAgent, startHypervisor, startProvider } from './start-again.js';
import { formatSeconds, secondsBetween, toMs } from './time.js';
import { undoingText } from './undoing.js';

export interface NextStep {
  readonly command: string;
  /** Its purpose, or the case in which to run it. */
  readonly purpose: string;
  /** Nothing needs to be done; the command is only an option. */
  readonly optional?: true;
}

/** Facts from outside its protection workflow; undefined: unknown. */
export interface Seen {
  readonly held?: HeldReplica | undefined;
  /** At the primary site, by its hypervisor. */
  readonly source?: 'Running' | 'Off' | undefined;
  /** At the recovery site, by the recovery compute. */
  readonly replicaVm?: ReplicaVmPower | undefined;
  /** The Provider that serves it does not answer. */
  readonly isProviderSilent?: boolean | undefined;
}

/** @param at ISO 8601. @param seen.held what the vault records of a VM that is not protected. */
export function nextStep(
  vm: string,
  view: ProtectedItemView | undefined,
  at: string,
  { held, source, replicaVm, isProviderSilent }: Seen = {},
): NextStep {
  const left = view && stepOfLeft(view.item);
  if (!view || view.item.phase === 'Unprotected') {
    if (left) return left;
    if (view?.item.job && waitsForPerson(view.item.job)) return retryOnceMended(vm);
    if (view?.item.job)
      return { command: `farshore job show ${view.item.job.jobId}`, purpose: 'it is being protected' };
    if (held?.asProtected)
      return { command: `farshore vault adopt ${vm}`, purpose: 'resumes its protection from the replica in the vault' };
    if (held?.state && replicaVm !== 'Running') return startReplica(vm);
    if (held?.state) {
      return {
        command: `farshore vm delete-replica ${vm}`,
        purpose:
          'it runs at the recovery site, unprotected; delete its replica VM only to protect it at the primary site again',
        optional: true,
      };
    }
    if (source === 'Off') {
      return {
        command: `farshore vm start ${vm}`,
        purpose: `it is off at the primary site; once it runs, protect it: farshore protect ${vm} --wait`,
      };
    }
    return { command: `farshore protect ${vm} --wait`, purpose: 'protects the VM' };
  }
  const { item } = view;
  const known = hostSilence(item);
  // The hypervisor answers again; the VM's protection workflow will learn that soon.
  const silence = known?.silent === 'hypervisor' && source === 'Running' ? undefined : known;
  if (silence && source === 'Running') {
    return {
      command: startAgent(silence.host),
      purpose: `on that host: the VM runs there, and only the agent does not answer. ${BEFORE_THAT}`,
    };
  }
  if (silence?.silent === 'hypervisor' && item.job?.kind !== 'unplannedFailover') {
    return {
      command: startHypervisor(silence.host),
      purpose: `on that host: the agent answers, and only the hypervisor does not; no data is lost. ${BEFORE_THAT}`,
    };
  }
  if (silence && view.operations.unplannedFailover.allowed) return failOver([vm], silence, at);
  const waiting = [item, item.job, item.drill?.job].some((each) => each && waitsForPerson(each));
  if (waiting || seedingStopped(item)) {
    return retryOnceMended(vm);
  }
  if (item.job?.kind === 'failback' && item.job.task === WAITING) {
    return {
      command: `farshore complete-failback ${vm} --wait`,
      purpose: 'its changes have been sent to the primary site, and go on being sent until you complete the failback',
    };
  }
  if (item.job) {
    return {
      command: `farshore job show ${item.job.jobId}`,
      purpose: `the job "${titleOf(item.job.kind)}" is running`,
    };
  }
  if (isHalfCancelled(item)) {
    return {
      command: `farshore cancel-failover ${vm} --wait`,
      purpose: `a job that cancelled its failover ended early; this finishes it. If the primary site is lost: farshore failover ${vm} --type unplanned --wait`,
    };
  }
  if (item.activeSide === 'recovery' && replicaVm && replicaVm !== 'Running') return startReplica(vm);
  if (left) return left;
  switch (item.phase) {
    case 'Protected':
      return nextOfProtected(vm, view, at, { source, isProviderSilent });
    case 'FailedOver':
      return {
        command: `farshore commit ${vm} --wait`,
        purpose: `once you have checked that the replica VM works; if it does not, run it from another point (farshore change-recovery-point ${vm} --recovery-point POINT) or at the primary site again (farshore cancel-failover ${vm})`,
      };
    case 'FailedBack':
      return {
        command: `farshore commit ${vm} --wait`,
        purpose: `once you have checked that the VM works; if it does not, run it at the recovery site again: farshore cancel-failback ${vm}`,
      };
    default:
      if (item.activeSide === 'primary')
        return { command: `farshore reverse-replicate ${vm} --wait`, purpose: 'protects it again' };
      if (item.drill) return stepOfDrill(item)!;
      return {
        command: `farshore failback ${vm}`,
        purpose: 'only to bring it back to the primary site, with everything written since; it can stay where it is',
        optional: true,
      };
  }
}

const retryOnceMended = (vm: string): NextStep => ({
  command: `farshore retry ${vm}`,
  purpose: 'once you have fixed the cause',
});

const startReplica = (vm: string): NextStep => ({
  command: `farshore vm start ${vm}`,
  purpose: 'according to the vault it should run at the recovery site, but it does not',
});

/** Leftovers of ended jobs: a step that could not be undone, or a source that is not fenced yet. */
function stepOfLeft({ vm, phase, job, leftovers, sourceFence }: ProtectedItem): NextStep | undefined {
  if (job) return undefined;
  const [first] = leftovers ?? [];
  if (first) {
    return {
      command: `farshore retry ${vm}`,
      purpose: `to ${undoingText[first.what]}, which an ended job could not do`,
    };
  }
  // While a failover is open it can't be waived: commit comes first.
  if (!sourceFence || (phase !== 'Committed' && phase !== 'Unprotected')) return undefined;
  return {
    command: `farshore unprotect ${vm} --primary-lost`,
    purpose:
      'only if the primary site no longer exists; otherwise Farshore fences the source automatically once its hypervisor and its Provider answer',
    optional: true,
  };
}

function stepOfDrill({ vm, drill }: ProtectedItem): NextStep | undefined {
  if (!drill) return undefined;
  const { job, requested, testVm, cleanUpAt } = drill;
  const running = job ?? requested;
  if (running)
    return { command: `farshore job show ${running.jobId}`, purpose: `the job "${titleOf(running.kind)}" is running` };
  const until = cleanUpAt === undefined ? '' : `; otherwise Farshore does so automatically at ${cleanUpAt}`;
  return {
    command: `farshore cleanup-test-failover ${vm} --wait`,
    purpose: `once you have tested ${testVm}${until}`,
  };
}

function nextOfProtected(
  vm: string,
  { item }: ProtectedItemView,
  at: string,
  { source, isProviderSilent }: Pick<Seen, 'source' | 'isProviderSilent'>,
): NextStep {
  const { paused, resync, retry } = item;
  if (paused && !resync) return { command: `farshore resume ${vm}`, purpose: 'replication is paused' };
  if (resync) {
    const by =
      resync.dueAt === undefined
        ? ''
        : `; starts automatically ${paused ? 'after `resume`' : inTime(resync.dueAt, at)}`;
    return {
      command: `farshore resynchronize ${vm} --now --wait`,
      purpose: `nothing is sent until the replica equals the source again${by}`,
    };
  }
  if (retry) {
    return {
      command: `farshore retry ${vm}`,
      purpose: isLater(retry.nextTryAt, at)
        ? `retries the failed step now instead of ${inTime(retry.nextTryAt, at)}`
        : 'retries the failed step now',
    };
  }
  // It may be off on purpose; but if it is not, the operator must not be told that all is well.
  if (source === 'Off') {
    return {
      command: `farshore vm start ${vm}`,
      purpose: 'it is off at the primary site; if it is off on purpose, there is nothing to do',
    };
  }
  if (isProviderSilent) {
    return {
      command: startProvider(item.vmmServer),
      purpose: `the Provider does not answer, and a planned failover needs it; replication continues. ${BEFORE_THAT}`,
    };
  }
  const drill = stepOfDrill(item);
  if (drill) return drill;
  return {
    command: `farshore failover ${vm} --type planned --wait`,
    purpose: 'only to move it to the recovery site; nothing needs to be done now',
    optional: true,
  };
}

/** @param vms VMs of one host, all of which can be failed over. */
export function failOver(vms: readonly string[], silence: HostSilence, at: string): NextStep {
  const silent = formatSeconds(secondsBetween(silence.heardAt ?? silence.since, at));
  return {
    command: `farshore failover ${vms.join(' ')} --type unplanned --wait`,
    purpose: `if host ${silence.host} is lost; it was last heard ${silent} ago`,
  };
}

/** For display. */
export const nextStepText = ({ command, purpose }: NextStep): string => `${command}  (${purpose})`;

const isLater = (then: string | undefined, now: string): then is string => then !== undefined && toMs(then) > toMs(now);

const inTime = (then: string, now: string): string =>
  toMs(then) <= toMs(now) ? 'now' : `in ${formatSeconds(secondsBetween(now, then))}`;
