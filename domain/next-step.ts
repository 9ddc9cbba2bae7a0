/** What to type next for a VM: the one command that brings it on, and works in the state it is in. */
import type { HeldReplica, ReplicaVmPower } from './held-replica.js';
import { hostSilence, type HostSilence } from './host-silence.js';
import type { ProtectedItemView } from './item-view.js';
import { waitsForPerson } from './job.js';
import { titleOf } from './jobs/known-jobs.js';
import { seedingStopped, type ProtectedItem } from './protected-item.js';
import { BEFORE_THAT, startAgent, startHypervisor } from './start-again.js';
import { formatSeconds, secondsBetween, toMs } from './time.js';
import { undoingText } from './undoing.js';

export interface NextStep {
  readonly command: string;
  /** What it is for, or when. */
  readonly purpose: string;
  /** Nothing needs to be done; the command is there for whoever wants it. */
  readonly optional?: true;
}

/** What was found beside what protects it; undefined: nobody has told. */
export interface Seen {
  readonly held?: HeldReplica | undefined;
  /** At the primary site, by its hypervisor. */
  readonly source?: 'Running' | 'Off' | undefined;
  /** At the recovery site, by the recovery compute. */
  readonly replicaVm?: ReplicaVmPower | undefined;
}

/**
 * @param at ISO 8601.
 * @param seen.held by the vault of a VM that is not protected.
 */
export function nextStep(
  vm: string,
  view: ProtectedItemView | undefined,
  at: string,
  { held, source, replicaVm }: Seen = {},
): NextStep {
  const left = view && stepOfLeft(view.item);
  if (!view || view.item.phase === 'Unprotected') {
    if (left) return left;
    if (view?.item.job && waitsForPerson(view.item.job)) return retryOnceMended(vm);
    if (view?.item.job)
      return { command: `farshore job show ${view.item.job.jobId}`, purpose: 'it is being protected' };
    if (held?.asProtected)
      return { command: `farshore vault adopt ${vm}`, purpose: 'protects it again from what the vault holds' };
    if (held?.state && replicaVm !== 'Running') return startReplica(vm);
    if (held?.state) {
      return {
        command: `farshore vm delete-replica ${vm}`,
        purpose: 'it runs at the recovery site and is not protected; only to protect it at the primary site again',
        optional: true,
      };
    }
    if (source === 'Off') {
      return {
        command: `farshore vm start ${vm}`,
        purpose: `it is off at the primary site; then, to protect it: farshore protect ${vm} --wait`,
      };
    }
    return { command: `farshore protect ${vm} --wait`, purpose: 'starts protecting it' };
  }
  const { item } = view;
  const silence = hostSilence(item);
  if (silence && source === 'Running') {
    return {
      command: startAgent(silence.host),
      purpose: `on that host, where the VM runs and only the agent does not answer. ${BEFORE_THAT}`,
    };
  }
  if (silence?.silent === 'hypervisor' && item.job?.kind !== 'unplannedFailover') {
    return {
      command: startHypervisor(silence.host),
      purpose: `on that host, where the agent answers and only the hypervisor does not; nothing is lost. ${BEFORE_THAT}`,
    };
  }
  if (silence && view.operations.unplannedFailover.allowed) return failOver([vm], silence, at);
  if (waitsForPerson(item) || (item.job && waitsForPerson(item.job)) || seedingStopped(item)) {
    return retryOnceMended(vm);
  }
  if (item.job) {
    return {
      command: `farshore job show ${item.job.jobId}`,
      purpose: `the job "${titleOf(item.job.kind)}" is running`,
    };
  }
  if (item.activeSide === 'recovery' && replicaVm && replicaVm !== 'Running') return startReplica(vm);
  if (left) return left;
  switch (item.phase) {
    case 'Protected':
      return nextOfProtected(vm, view, at, source);
    case 'FailedOver':
      return { command: `farshore commit ${vm} --wait`, purpose: 'once the replica VM has been found to work' };
    default:
      return {
        command: `farshore unprotect ${vm} --wait`,
        purpose:
          'only to protect it at the primary site again, which gives up what was written at the recovery site; failing back is not there yet, and it may stay as it is',
        optional: true,
      };
  }
}

const retryOnceMended = (vm: string): NextStep => ({
  command: `farshore retry ${vm}`,
  purpose: 'once the cause is gone',
});

const startReplica = (vm: string): NextStep => ({
  command: `farshore vm start ${vm}`,
  purpose: 'the vault says that it runs at the recovery site, and it does not',
});

/** What jobs that are over have left: something that was not undone, or a source that has still to be fenced. */
function stepOfLeft({ vm, phase, job, leftovers, sourceFence }: ProtectedItem): NextStep | undefined {
  if (job) return undefined;
  const [first] = leftovers ?? [];
  if (first) {
    return { command: `farshore retry ${vm}`, purpose: `to ${undoingText[first.what]}, which a job has left undone` };
  }
  // While a failover is open it can't be waived: commit comes first.
  if (!sourceFence || (phase !== 'Committed' && phase !== 'Unprotected')) return undefined;
  return {
    command: `farshore unprotect ${vm} --primary-lost`,
    purpose:
      'only if the primary site does not exist any more: else its source is fenced by itself once its hypervisor and its Provider answer',
    optional: true,
  };
}

function nextOfProtected(vm: string, { item }: ProtectedItemView, at: string, source?: 'Running' | 'Off'): NextStep {
  const { paused, resync, retry } = item;
  if (paused && !resync) return { command: `farshore resume ${vm}`, purpose: 'replication is paused' };
  if (resync) {
    const by = resync.dueAt === undefined ? '' : `; by itself ${paused ? 'after its pause' : inTime(resync.dueAt, at)}`;
    return {
      command: `farshore resynchronize ${vm} --now --wait`,
      purpose: `nothing is sent until both sides are equal again${by}`,
    };
  }
  if (retry) {
    return {
      command: `farshore retry ${vm}`,
      purpose: isLater(retry.nextTryAt, at)
        ? `tries again now, instead of ${inTime(retry.nextTryAt, at)}`
        : 'tries again now',
    };
  }
  // Somebody may have turned it off and want it so; who has not must not read that all is well.
  if (source === 'Off') {
    return {
      command: `farshore vm start ${vm}`,
      purpose: 'it is off at the primary site; if that is intended, nothing needs to be done now',
    };
  }
  return {
    command: `farshore failover ${vm} --type planned --wait`,
    purpose: 'only to run it at the recovery site: nothing needs to be done now',
    optional: true,
  };
}

/** @param vms of one host, which all may be failed over. */
export function failOver(vms: readonly string[], silence: HostSilence, at: string): NextStep {
  const silent = formatSeconds(secondsBetween(silence.heardAt ?? silence.since, at));
  return {
    command: `farshore failover ${vms.join(' ')} --type unplanned --wait`,
    purpose: `if host ${silence.host} is lost: it was last heard ${silent} ago`,
  };
}

/** For people. */
export const nextStepText = ({ command, purpose }: NextStep): string => `${command}  (${purpose})`;

const isLater = (then: string | undefined, now: string): then is string => then !== undefined && toMs(then) > toMs(now);

const inTime = (then: string, now: string): string =>
  toMs(then) <= toMs(now) ? 'now' : `in ${formatSeconds(secondsBetween(now, then))}`;
