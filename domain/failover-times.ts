/**
 * The cost of an unplanned failover, derived from the known instants. The recovery point's instant is by the source's
 * clock, all others are by the recovery site's; the difference between the two clocks is taken into account if it is
 * known.
 */
import type { UnplannedFailoverResult } from './job.js';
import { formatDuration, formatSeconds, later, secondsBetween, toIso, toMs } from './time.js';

/** What is known of a host that has stopped answering. */
export interface LostHost {
  /** Its last sign of life, ISO 8601. */
  readonly hostSeenAt?: string | undefined;
  /** From when on it did not answer, ISO 8601: it died between its last sign of life and this instant. */
  readonly hostSilentAt?: string | undefined;
  /** How far its clock is ahead of the recovery site's, ms. */
  readonly hostClockAheadMs?: number | undefined;
}

/** Without a lost host, the host answered until its VM was failed over. */
export interface FailoverInstants extends LostHost {
  /** Instant of the recovery point, which holds everything written before it. ISO 8601, like all times here. */
  readonly dataAsOf: string;
  readonly declaredAt: string;
  /** When the source lost the right to write. */
  readonly failedOverAt: string;
  readonly runningAt: string;
  readonly disks?: UnplannedFailoverResult['disks'];
}

type Times = Pick<
  UnplannedFailoverResult,
  | 'hostSeenAt'
  | 'hostSilentAt'
  | 'hostClockAheadMs'
  | 'declaredAt'
  | 'runningAt'
  | 'rpoSeconds'
  | 'rtoSeconds'
  | 'outageSeconds'
>;

/** A dead host writes nothing, so the loss does not grow while an operator decides. */
export function timesOf({ dataAsOf, declaredAt, failedOverAt, runningAt, disks, ...host }: FailoverInstants): Times {
  const lost = signsOf(dataAsOf, host);
  return {
    ...(lost.seenAt !== undefined && {
      hostSeenAt: lost.seenAt,
      outageSeconds: secondsBetween(lost.seenAt, runningAt),
    }),
    ...(lost.silentAt !== undefined && { hostSilentAt: lost.silentAt }),
    ...(host.hostClockAheadMs !== undefined && { hostClockAheadMs: host.hostClockAheadMs }),
    declaredAt,
    runningAt,
    rpoSeconds: nothingLost(disks)
      ? 0
      : lost.silentAt === undefined
        ? secondsBetween(lost.dataAsOf, lost.seenAfter ? lost.seenAt! : failedOverAt)
        : mostSeconds(lost.dataAsOf, lost.silentAt),
    rtoSeconds: secondsBetween(declaredAt, runningAt),
  };
}

interface Signs {
  /** By the recovery site's clock. */
  readonly dataAsOf: string;
  readonly seenAt?: string;
  /** Whether the host was seen after the data's instant; if not, how long it lived after that is unknown. */
  readonly seenAfter: boolean;
  readonly silentAt?: string;
}

/** The data themselves count as a sign of life. */
function signsOf(dataAsOf: string, { hostSeenAt, hostSilentAt, hostClockAheadMs = 0 }: LostHost): Signs {
  const data = hostClockAheadMs === 0 ? dataAsOf : toIso(toMs(dataAsOf) - hostClockAheadMs);
  const seenAt = hostSeenAt === undefined ? undefined : later(hostSeenAt, data);
  return {
    dataAsOf: data,
    ...(seenAt !== undefined && { seenAt }),
    seenAfter: seenAt !== undefined && toMs(seenAt) > toMs(data),
    ...(hostSilentAt !== undefined && { silentAt: later(hostSilentAt, seenAt ?? data) }),
  };
}

/** Rounded up to a tenth of a second, because it is an upper bound. */
const mostSeconds = (from: string, to: string): number => Math.max(0, Math.ceil((toMs(to) - toMs(from)) / 100) / 10);

const boundText = (seconds: number): string => (seconds < 60 ? `${seconds} s` : formatSeconds(Math.ceil(seconds)));

/** Whether the source was shut down and everything it had written arrived. */
const nothingLost = (disks: UnplannedFailoverResult['disks']): boolean =>
  disks !== undefined && disks.every(({ lastWriteIssued, lastWriteApplied }) => lastWriteIssued === lastWriteApplied);

/**
 * The expected loss in one sentence, before the failover.
 * @param lostHost undefined while the host answers.
 * @param at ISO 8601.
 */
export function lossAhead(
  dataAsOf: string | undefined,
  host: string,
  lostHost: LostHost | undefined,
  at: string,
): string {
  if (dataAsOf === undefined) return 'Everything written since the newest recovery point is lost.';
  const { dataAsOf: byOurs, seenAt, seenAfter, silentAt } = signsOf(dataAsOf, lostHost ?? {});
  const data = `Its data will be as of ${dataAsOf}, ${formatSeconds(secondsBetween(byOurs, at))} ago`;
  if (seenAt === undefined) return `${data}: everything written from then until the source is off is lost.`;
  const most =
    silentAt === undefined
      ? undefined
      : `at most ${boundText(mostSeconds(byOurs, silentAt))}, as the host has not answered since ${silentAt}`;
  if (!seenAfter) {
    return `${data}. Host ${host} has not been heard since then: everything written after that data is lost, ${most ?? 'and the amount is unknown'}.`;
  }
  return `${data}. Host ${host} was last seen at ${seenAt}, ${laterText(byOurs, seenAt)}: everything written after that data is lost${most === undefined ? '' : `, ${most}`}.`;
}

/** The lines of the report. */
export function timeLines(result: UnplannedFailoverResult): (readonly [string, string | undefined])[] {
  const { recoveryPointTime, declaredAt, failedOverAt, runningAt, rpoSeconds, rtoSeconds, outageSeconds } = result;
  const signs = signsOf(recoveryPointTime, result);
  const { dataAsOf, seenAt, seenAfter, silentAt } = signs;
  const whole = nothingLost(result.disks);
  return [
    [
      'Data as of',
      `${recoveryPointTime}: ${whole ? 'everything the source had written' : 'everything written later is lost'}`,
    ],
    ["Host's clock", clockText(result.hostClockAheadMs)],
    [
      'Host last seen',
      seenAt === undefined
        ? undefined
        : seenAfter
          ? `${seenAt}, ${laterText(dataAsOf, seenAt)}`
          : `${seenAt}, with that data; ${silentAt === undefined ? 'how long it kept writing is unknown' : `it may have kept writing until ${silentAt}`}`,
    ],
    ['Silent since', silentAt],
    ['Declared', declaredAt],
    ['Failed over', failedOverAt],
    ['Running', runningAt],
    ['RPO', lossText(rpoSeconds, whole, signs)],
    [
      'RTO',
      `${formatSeconds(rtoSeconds)}${runningAt === undefined ? '' : ': from declaring the failover until the VM ran'}`,
    ],
    [
      'Outage',
      outageSeconds === undefined
        ? undefined
        : `${seenAfter && silentAt === undefined ? '' : 'up to '}${formatSeconds(outageSeconds)}: from when the host was last seen until the VM ran`,
    ],
  ];
}

function lossText(seconds: number, whole: boolean, { seenAt, seenAfter, silentAt }: Signs): string {
  const loss = formatSeconds(seconds);
  if (whole) return `${loss}: nothing was lost`;
  if (seenAt === undefined && silentAt === undefined)
    return `at least ${loss}: from the data until the failover; more if the source kept writing until it was off`;
  if (silentAt !== undefined) {
    return `at most ${boundText(seconds)}: from the data until the host stopped answering; more only if it kept writing while silent`;
  }
  return seenAfter
    ? `${loss}: from the data until the host was last seen; more only if it kept writing while silent`
    : `up to ${loss}: from the data until the failover, as the host was not heard in between`;
}

const clockText = (aheadMs: number | undefined): string | undefined =>
  aheadMs === undefined
    ? undefined
    : `${formatDuration(Math.abs(aheadMs))} ${aheadMs > 0 ? 'ahead' : 'behind'}: only the time of the data is by this clock`;

const laterText = (dataAsOf: string, hostSeenAt: string): string =>
  `${formatSeconds(secondsBetween(dataAsOf, hostSeenAt))} after that data`;
