/**
 * Replication health: an ordered list of conditions derived from the item and the time, the worst of which is the
 * health. Nothing is stored, so nothing can be forgotten to be cleared.
 */
import { formatSeconds, secondsBetween, toIso, toMs } from './time.js';
import { isReplicated, seedingStopped, type Health, type ProtectedItem } from './protected-item.js';
import type { HostTrouble } from './host.js';
import type { RetryState } from './job.js';

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

/** Worst first. @param now ISO 8601. */
export function conditionsOf(item: ProtectedItem, now: string): Condition[] {
  const found: Condition[] = [];
  const retry = item.retry ?? item.job?.retry;
  if (retry) found.push(retryCondition(retry, now));
  // What fails for the same reason says more.
  if (item.hostTrouble && isReplicated(item) && retry?.failure.code !== item.hostTrouble.failure.code) {
    found.push(troubleCondition(item.hostTrouble, now));
  }
  if (item.resync) {
    found.push(resyncCondition(item, item.resync));
  }
  if (seedingStopped(item)) {
    const last = item.recentJobs.at(-1);
    found.push({
      reason: 'InitialReplicationStopped',
      health: 'Critical',
      message: `initial replication ended before it was done (${last?.failure?.message ?? last?.outcome ?? 'unknown'})`,
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
      message: `nothing was sent for ${formatSeconds(secondsBetween(item.shipped.sealedAt, now))}`,
      since: item.shipped.sealedAt,
    });
  }
  const missed = item.cycleHistory.filter((onTime) => !onTime).length;
  if (item.phase === 'Protected' && missed > item.cycleHistory.length * MISSED_SHARE) {
    found.push({
      reason: 'CyclesMissed',
      health: 'Warning',
      message: `${missed} of the last ${item.cycleHistory.length} cycles were missed`,
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
        : 'Look at the guest agent in the VM; it is asked again within 15 minutes.',
      since: withoutApp.since,
    });
  }
  if (item.phase === 'FailedOver' || item.phase === 'Committed') {
    found.push({
      reason: 'NotReverseReplicated',
      health: 'Warning',
      message: 'the VM runs at the recovery side and is not replicated back',
    });
  }
  if (item.sourceFence) {
    const { since, problem } = item.sourceFence;
    found.push({
      reason: 'SourceNotFenced',
      health: 'Warning',
      message: `the source has not been told yet that the VM runs at the recovery side${problem === undefined ? '' : ` (${problem})`}`,
      remedy: 'Keep the source VM off until the Provider is back; then it is turned off and fenced by itself.',
      since,
    });
  }
  const severity = (condition: Condition) => (condition.health === 'Critical' ? 0 : 1);
  return found.sort((a, b) => severity(a) - severity(b));
}

function resyncCondition(
  item: ProtectedItem,
  { cause, since, dueAt }: NonNullable<ProtectedItem['resync']>,
): Condition {
  const running = item.job?.kind === 'resynchronize';
  const outlook = running ? 'being resynchronized' : dueAt === undefined ? '' : `to be resynchronized at ${dueAt}`;
  return {
    reason: 'ResyncRequired',
    health: 'Critical',
    message: outlook ? `${cause}; ${outlook}` : cause,
    ...(!running && { remedy: `To begin at once: farshore resynchronize ${item.vm} --now` }),
    since,
  };
}

export const healthOf = (item: ProtectedItem, now: string): Health => conditionsOf(item, now)[0]?.health ?? 'Normal';

function retryCondition(retry: RetryState, now: string): Condition {
  const { failure, nextTryAt, attempt, since } = retry;
  const waits = nextTryAt === undefined;
  const lasting = toMs(now) - toMs(since) >= CANNOT_SEND_AFTER_MS;
  return {
    reason: failure.code,
    health: waits || lasting ? 'Critical' : 'Warning',
    message: waits
      ? `${failure.message}; waits for an administrator`
      : `${failure.message}; attempt ${attempt} failed, next try at ${nextTryAt}`,
    remedy: failure.remedy,
    since,
  };
}

const troubleCondition = ({ failure, since }: HostTrouble, now: string): Condition => ({
  reason: failure.code,
  health: toMs(now) - toMs(since) >= CANNOT_SEND_AFTER_MS ? 'Critical' : 'Warning',
  message: failure.message,
  remedy: failure.remedy,
  since,
});

/** Now − seal time of the newest durable cycle, in seconds; undefined while there is none or the VM runs elsewhere. */
export const rpoSeconds = (item: ProtectedItem, now: string): number | undefined =>
  item.shipped && item.activeSide === 'primary' ? secondsBetween(item.shipped.sealedAt, now) : undefined;

/** When health may change without an event: the instants at which a limit above is crossed. ISO 8601, or undefined. */
export function nextHealthChange(item: ProtectedItem, now: string): string | undefined {
  const instants: number[] = [];
  const retry = item.retry ?? item.job?.retry;
  if (retry) instants.push(toMs(retry.since) + CANNOT_SEND_AFTER_MS);
  if (item.hostTrouble) instants.push(toMs(item.hostTrouble.since) + CANNOT_SEND_AFTER_MS);
  if (item.phase === 'Protected' && item.shipped) {
    instants.push(toMs(item.shipped.sealedAt) + LAST_SEND_LIMIT_MS + 1);
  }
  const ahead = instants.filter((instant) => instant > toMs(now));
  return ahead.length > 0 ? toIso(Math.min(...ahead)) : undefined;
}
