/**
 * Replication health: an ordered list of conditions derived from the item and the time; the worst one is the health.
 * Nothing is stored, so there is nothing that someone could forget to clear.
 */
import { earlier, formatSeconds, secondsBetween, toIso, toMs } from './time.js';
import { copyFrequencyMs } from './policy.js';
import { CYCLES_REMEMBERED, missedCycles } from './transitions.js';
import { isReplicated, seedingStopped, type Health, type ProtectedItem } from './protected-item.js';
import { isOffForFailback } from './jobs/failback.js';
import type { Failure } from './errors.js';
import type { HostTrouble } from './host.js';
import { hostSilence, saysHostIsSilent, type HostSilence } from './host-silence.js';
import type { RetryState } from './job.js';
import { titleOf } from './jobs/known-jobs.js';
import { nextTryText, resyncText } from './next-try.js';
import {
  BEFORE_THAT,
  startAgent,
  startHost,
  startHypervisor,
  startHypervisorAlone,
  startProvider,
  startSilent,
} from './start-again.js';
import { undoingText } from './undoing.js';

export type { Health };

export interface Condition {
  readonly reason: string;
  readonly health: Exclude<Health, 'Normal'>;
  readonly message: string;
  readonly remedy?: string;
  readonly since?: string;
}

/** "Over 1 h since the last send" is a warning. */
const LAST_SEND_LIMIT_MS = 3_600_000;
/** More than 20 % of cycles missed is a warning. */
const MISSED_SHARE = 0.2;
/** A recoverable failure that outlasts this is "cannot send". */
const CANNOT_SEND_AFTER_MS = 120_000;

/**
 * Worst first.
 * @param now ISO 8601.
 * @param known the host's silence as all of its VMs know it; each VM notices it at a different time.
 */
export function conditionsOf(item: ProtectedItem, now: string, known?: HostSilence): Condition[] {
  const found: Condition[] = [];
  const own = hostSilence(item);
  const silentSince = own && earlier(own.since, known?.since ?? own.since);
  const retry = withAge(failing(item), silentSince);
  const hostTrouble = withAge(item.hostTrouble, silentSince);
  const isToldByHost = silentSince !== undefined && hostTrouble !== undefined && retry?.failure.code === 'WorkerLost';
  if (retry && !isToldByHost) found.push(withWayOut(item, retryCondition(item, retry, now)));
  // A failure with the same reason says more; a failure that only says that its worker is lost says less.
  if (hostTrouble && isReplicated(item) && retry?.failure.code !== hostTrouble.failure.code) {
    const condition = withWayOut(item, troubleCondition(hostTrouble, now));
    if (retry?.failure.code === 'WorkerLost') found.unshift(condition);
    else found.push(condition);
  }
  if (item.resync) {
    found.push(resyncCondition(item, item.resync, now));
  }
  for (const { what, kind, jobId, failure, since } of item.leftovers ?? []) {
    found.push({
      reason: 'LeftUndone',
      health: 'Critical',
      message: `the job "${titleOf(kind)}" (${jobId}) ended but could not ${undoingText[what]}: ${failure.message}`,
      remedy: `${failure.remedy} To ${undoingText[what]}: farshore retry ${item.vm}`,
      since,
    });
  }
  if (seedingStopped(item)) {
    const last = item.recentJobs.at(-1);
    found.push({
      reason: 'InitialReplicationStopped',
      health: 'Critical',
      message: `initial replication stopped before it was complete (${last?.failure?.message ?? last?.outcome ?? 'unknown'})`,
      remedy: `farshore retry ${item.vm}`,
    });
  } else if (item.phase === 'Seeding') {
    found.push({
      reason: 'InitialReplicationIncomplete',
      health: 'Warning',
      message: 'initial replication is not complete',
    });
  }
  if (item.paused) {
    found.push({
      reason: 'Paused',
      health: 'Warning',
      message: 'replication is paused; changes are tracked, but not sent',
      remedy: `farshore resume ${item.vm}`,
      since: item.paused.since,
    });
  }
  if (item.phase === 'Protected' && item.shipped && toMs(now) - toMs(item.shipped.sealedAt) > LAST_SEND_LIMIT_MS) {
    found.push({
      reason: 'NotSentForLong',
      health: 'Warning',
      message: `no changes have been sent for ${formatSeconds(secondsBetween(item.shipped.sealedAt, now))}`,
      since: item.shipped.sealedAt,
    });
  }
  const { missed, all } = cyclesMissed(item, overdueCycles(item, now));
  if (item.phase === 'Protected' && missed > all * MISSED_SHARE) {
    found.push({
      reason: 'CyclesMissed',
      health: 'Warning',
      message:
        all === 1
          ? 'the last cycle was missed'
          : `${missed} of the last ${all} cycles ${missed === 1 ? 'was' : 'were'} missed`,
      remedy:
        'If an interruption has just ended, there is nothing to do: the warning clears once cycles are on time again. Otherwise check the load of the host and of the link.',
    });
  }
  const withoutApp = item.policy.appConsistentFrequencyHours > 0 ? item.appConsistency?.failure : undefined;
  if (item.phase === 'Protected' && withoutApp) {
    const isMissing = withoutApp.reason === 'GuestAgentMissing';
    found.push({
      reason: withoutApp.reason,
      health: 'Warning',
      message: `recovery points are crash-consistent only: ${withoutApp.message}`,
      remedy: isMissing
        ? `Give ${item.vm} a guestAgent in the site file, or a policy without app-consistent points.`
        : 'Check the guest agent in the VM; Farshore tries it again within 15 minutes.',
      since: withoutApp.since,
    });
  }
  if (item.phase === 'FailedOver' || item.phase === 'Committed' || item.phase === 'FailedBack') {
    found.push({ reason: 'NotReverseReplicated', ...unprotected(item) });
  }
  if (item.sourceRan) {
    found.push({
      reason: 'SourceRan',
      health: 'Warning',
      message: `the source kept running on host ${item.host} after the failover, until it was turned off at ${item.sourceRan.until}; data written there in that time exists only on its own disks`,
      remedy: `Check whether the guest or its clients wrote there, and save the data you need ${item.phase === 'FailedBack' ? 'from the original disk files before you commit the failback, which overwrites it' : 'before you start, protect or fail back to the source again'}.`,
    });
  }
  if (item.sourceFence) {
    const { since, problem, hostSilentAt } = item.sourceFence;
    const silent =
      hostSilentAt === undefined ? '' : `; at the failover, the host had not answered since ${hostSilentAt}`;
    found.push({
      reason: 'SourceNotFenced',
      health: 'Warning',
      message: `the source on host ${item.host} is not fenced yet, so nothing prevents it from running at the primary site${silent}${silentPart(item)}${triedText(problem)}`,
      remedy: `${toBeStarted(item, now)}. ${BEFORE_THAT}. Farshore then turns off and fences the source automatically. Until then, keep the source off.${waiver(item)}`,
      since,
    });
  }
  const severity = (condition: Condition) => (condition.health === 'Critical' ? 0 : 1);
  return found.sort((a, b) => severity(a) - severity(b));
}

const triedText = (problem: NonNullable<ProtectedItem['sourceFence']>['problem']): string =>
  problem === undefined ? '' : `; retried every minute, the last attempt failed at ${problem.at}: ${problem.message}`;

function silentPart(item: ProtectedItem): string {
  const { hostTrouble } = item;
  if (!hostTrouble || !saysHostIsSilent(hostTrouble.failure.code)) return '';
  // Telling the source does not need the agent.
  return hostTrouble.failure.code === 'HypervisorUnreachable'
    ? '; its hypervisor is not answering'
    : `; its agent is not answering (to restart it: ${startAgent(item.host)})`;
}

/** Attempts are a minute apart, so a Provider that has failed one within this time is running. */
const TRIED_RECENTLY_MS = 150_000;

function toBeStarted({ host, vmmServer, sourceFence }: ProtectedItem, now: string): string {
  const triedAt = sourceFence?.problem?.at;
  return triedAt !== undefined && toMs(now) - toMs(triedAt) < TRIED_RECENTLY_MS
    ? `Restart the hypervisor: ${startHypervisor(host)}`
    : `Restart whichever of the two is down: ${startHypervisor(host)}, and ${startProvider(vmmServer)}`;
}

function unprotected(item: ProtectedItem): Pick<Condition, 'health' | 'message' | 'remedy'> {
  const { host, job } = item;
  if (isOffForFailback(item)) {
    return {
      // While nothing fails, that takes seconds.
      health: job!.retry ? 'Critical' : 'Warning',
      message: `the VM is off at both sites while its failback sends the last changes to host ${host} and starts it there`,
      remedy: `If that takes too long, run it at the recovery site again: farshore job cancel ${job!.jobId}`,
    };
  }
  return { health: 'Warning', ...unprotectedText(item) };
}

function unprotectedText({ vm, phase, activeSide, job }: ProtectedItem): { message: string; remedy?: string } {
  if (activeSide === 'primary') {
    const message = 'the VM has been failed back and is not protected';
    return phase === 'FailedBack'
      ? { message: `${message}, until its failback is committed and it is reverse-replicated` }
      : { message, remedy: `Protect it again; only the differences are sent: farshore reverse-replicate ${vm} --wait` };
  }
  return {
    message: 'the VM runs at the recovery site and is not protected there (no reverse replication)',
    ...(phase === 'Committed' &&
      job?.kind !== 'failback' && {
        remedy: `It can stay there. To bring it back to the primary site: farshore failback ${vm}`,
      }),
  };
}

/** While a failover is open, the fencing can't be waived: commit comes first. */
const waiver = ({ phase, vm }: ProtectedItem): string =>
  phase === 'Committed' || phase === 'Unprotected'
    ? ` If the primary site no longer exists: farshore unprotect ${vm} --primary-lost`
    : '';

/** Cycles that have come due, counted from the first late one; 0 while a job, a pause or a mark prevents cycles. */
export function overdueCycles(item: ProtectedItem, now: string): number {
  const isMade = item.phase === 'Protected' && !item.job && item.pending.length === 0 && !item.paused && !item.resync;
  return isMade ? missedCycles(item, now) : 0;
}

/** Missed cycles among the last ones, including overdue ones. */
function cyclesMissed({ cycleHistory }: ProtectedItem, overdue: number): { missed: number; all: number } {
  const late = Array<boolean>(Math.min(overdue, CYCLES_REMEMBERED)).fill(false);
  const last = [...cycleHistory, ...late].slice(-CYCLES_REMEMBERED);
  return { missed: last.filter((onTime) => !onTime).length, all: last.length };
}

/** The instant from which so many cycles are overdue that it becomes a condition, ms. */
function overdueFrom(item: ProtectedItem): number | undefined {
  if (item.phase !== 'Protected' || item.cycleDueAt === undefined || item.paused || item.resync) return undefined;
  for (let overdue = 1; overdue <= CYCLES_REMEMBERED; overdue += 1) {
    const { missed, all } = cyclesMissed(item, overdue);
    if (missed > all * MISSED_SHARE) return toMs(item.cycleDueAt) + overdue * copyFrequencyMs(item.policy);
  }
  return undefined;
}

function resyncCondition(
  item: ProtectedItem,
  { cause, since, dueAt }: NonNullable<ProtectedItem['resync']>,
  now: string,
): Condition {
  const running = item.job?.kind === 'resynchronize';
  const outlook = running ? 'being resynchronized' : dueAt === undefined ? '' : resyncText(item, dueAt, now);
  return {
    reason: 'ResyncRequired',
    health: 'Critical',
    message: outlook ? `${cause}; ${outlook}` : cause,
    ...(!running && { remedy: `To start it now: farshore resynchronize ${item.vm} --now` }),
    since,
  };
}

export const healthOf = (item: ProtectedItem, now: string, known?: HostSilence): Health =>
  conditionsOf(item, now, known)[0]?.health ?? 'Normal';

/** While a host does not answer, the remedy says how to continue without it. */
function withWayOut(item: ProtectedItem, condition: Condition): Condition {
  const canFailOver = item.latestRecoveryPoint !== undefined || item.applied !== undefined;
  if (!saysHostIsSilent(condition.reason) || !isReplicated(item) || !canFailOver) return condition;
  const lost = `If host ${item.host} is lost: farshore failover ${item.vm} --type unplanned`;
  if (condition.reason === 'HypervisorUnreachable') {
    return { ...condition, remedy: `${startHypervisorAlone(item.host)} ${lost}` };
  }
  return { ...condition, remedy: `${lost}. Otherwise, restart ${startHost(item.host)}` };
}

/** Conditions that only say how far protecting a VM has come. */
const stages: ReadonlySet<string> = new Set(['InitialReplicationIncomplete']);

/** The health that alerts follow: protecting a VM must wake no one. */
export const alertedHealthOf = (item: ProtectedItem, now: string): Health =>
  conditionsOf(item, now).find(({ reason }) => !stages.has(reason))?.health ?? 'Normal';

/**
 * The current failure and when it began. If a job starts, or fails as well, the failure still counts from its
 * beginning.
 */
function failing({ retry, job, unresolved }: ProtectedItem): RetryState | undefined {
  const current = retry ?? job?.retry;
  if (!current || !unresolved) return current ?? unresolved;
  return { ...current, since: earlier(current.since, unresolved.since) };
}

/** A failure that means that the host is silent counts from when the silence began, not from when it was noticed. */
const withAge = <T extends Pick<RetryState, 'failure' | 'since'>>(
  trouble: T | undefined,
  silentSince: string | undefined,
): T | undefined =>
  trouble && silentSince !== undefined && saysHostIsSilent(trouble.failure.code)
    ? { ...trouble, since: silentSince }
    : trouble;

function retryCondition(item: ProtectedItem, retry: RetryState, now: string): Condition {
  const { failure, nextTryAt, attempt, since } = retry;
  const waits = nextTryAt === undefined;
  const lasting = toMs(now) - toMs(since) >= CANNOT_SEND_AFTER_MS;
  return {
    reason: failure.code,
    health: waits || lasting ? 'Critical' : 'Warning',
    message: isOfBefore(item)
      ? `${failure.message}; ${untriedSince(item)}`
      : waits
        ? `${failure.message}; waits for an operator`
        : `${failure.message}; attempt ${attempt} failed, ${nextTryText(nextTryAt, now)}`,
    remedy: remedyOf(item, failure),
    since,
  };
}

/** If the silent process is known, the command that restarts it. */
function remedyOf(item: ProtectedItem, { code, remedy }: Failure): string {
  if (code === 'HypervisorUnreachable') return startHypervisorAlone(item.host);
  if (saysHostIsSilent(code)) return `Restart ${startHost(item.host)}`;
  const start = startSilent(code, item);
  return start === undefined ? remedy : `Restart it: ${start}. ${BEFORE_THAT}. The work then resumes automatically.`;
}

/** Whether the failure dates from before the current job or pause. */
const isOfBefore = ({ retry, job }: ProtectedItem): boolean => retry === undefined && job?.retry === undefined;

const untriedSince = ({ job, paused }: ProtectedItem): string =>
  job || !paused
    ? 'a job has started since then'
    : 'replication has been paused since then, so there is no retry before `resume`';

const troubleCondition = ({ failure, since }: HostTrouble, now: string): Condition => ({
  reason: failure.code,
  health: toMs(now) - toMs(since) >= CANNOT_SEND_AFTER_MS ? 'Critical' : 'Warning',
  message: failure.message,
  remedy: failure.remedy,
  since,
});

/** Seconds since the seal time of the newest durable cycle; undefined if there is none or the VM runs elsewhere. */
export const rpoSeconds = (item: ProtectedItem, now: string): number | undefined =>
  item.shipped && item.activeSide === 'primary' ? secondsBetween(item.shipped.sealedAt, now) : undefined;

/**
 * The next instant at which health may change without an event, because a limit above is crossed. ISO 8601, or
 * undefined.
 */
export function nextHealthChange(item: ProtectedItem, now: string): string | undefined {
  const instants: number[] = [];
  const retry = failing(item);
  if (retry) instants.push(toMs(retry.since) + CANNOT_SEND_AFTER_MS);
  if (item.hostTrouble) instants.push(toMs(item.hostTrouble.since) + CANNOT_SEND_AFTER_MS);
  if (item.phase === 'Protected' && item.shipped) {
    instants.push(toMs(item.shipped.sealedAt) + LAST_SEND_LIMIT_MS + 1);
  }
  const overdue = overdueFrom(item);
  if (overdue !== undefined) instants.push(overdue);
  const ahead = instants.filter((instant) => instant > toMs(now));
  return ahead.length > 0 ? toIso(Math.min(...ahead)) : undefined;
}
