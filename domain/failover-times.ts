/**
 * What an unplanned failover costs, told from the instants that are known: of the data by the source's clock, of all else by
 * the recovery site's. Where the two differ, it is known by how much.
 */
import type { UnplannedFailoverResult } from './job.js';
import { formatDuration, formatSeconds, later, secondsBetween, toIso, toMs } from './time.js';

/** What is known of a host that does not answer any more. */
export interface LostHost {
  /** Its last sign of life, ISO 8601. */
  readonly hostSeenAt?: string | undefined;
  /** From then on it did not answer: it has lived until some instant between the two. ISO 8601. */
  readonly hostSilentAt?: string | undefined;
  /** How far its clock is ahead, ms. */
  readonly hostClockAheadMs?: number | undefined;
}

/** Of a host that answered until its VM was failed over, nothing is lost. */
export interface FailoverInstants extends LostHost {
  /** The recovery point's: everything that was written before it is there. ISO 8601, as all of these. */
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

/** Nothing was written that the host did not live to write, so the loss does not grow while somebody makes up his mind. */
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
  /** By the clock of the others. */
  readonly dataAsOf: string;
  readonly seenAt?: string;
  /** Whether it was seen once more after the data; else how long it has lived behind them is not known. */
  readonly seenAfter: boolean;
  readonly silentAt?: string;
}

/** The data themselves are a sign of life. */
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

/** To a tenth of a second, of which no part is left out: it is a bound. */
const mostSeconds = (from: string, to: string): number => Math.max(0, Math.ceil((toMs(to) - toMs(from)) / 100) / 10);

const boundText = (seconds: number): string => (seconds < 60 ? `${seconds} s` : formatSeconds(Math.ceil(seconds)));

/** Its source was shut down, and all that it had written is there. */
const nothingLost = (disks: UnplannedFailoverResult['disks']): boolean =>
  disks !== undefined && disks.every(({ lastWriteIssued, lastWriteApplied }) => lastWriteIssued === lastWriteApplied);

/** What is lost, in a sentence, before it is. @param lostHost undefined while it answers. @param at ISO 8601. */
export function lossAhead(
  dataAsOf: string | undefined,
  host: string,
  lostHost: LostHost | undefined,
  at: string,
): string {
  if (dataAsOf === undefined) return 'What was written since the newest recovery point is lost.';
  const { dataAsOf: byOurs, seenAt, seenAfter, silentAt } = signsOf(dataAsOf, lostHost ?? {});
  const data = `Its data will be as of ${dataAsOf}, ${formatSeconds(secondsBetween(byOurs, at))} ago`;
  if (seenAt === undefined) return `${data}: everything written since then, and until the source is off, is lost.`;
  const most =
    silentAt === undefined
      ? undefined
      : `at most ${boundText(mostSeconds(byOurs, silentAt))}, as it does not answer since ${silentAt}`;
  if (!seenAfter) {
    return `${data}. Nothing was heard of host ${host} after that: what it has written since then is lost, ${most ?? 'and how much that is is not known'}.`;
  }
  return `${data}. Host ${host} was last seen at ${seenAt}, ${laterText(byOurs, seenAt)}: what was written after that data is lost${most === undefined ? '' : `, ${most}`}.`;
}

/** The lines of a report. */
export function timeLines(result: UnplannedFailoverResult): (readonly [string, string | undefined])[] {
  const { recoveryPointTime, declaredAt, failedOverAt, runningAt, rpoSeconds, rtoSeconds, outageSeconds } = result;
  const signs = signsOf(recoveryPointTime, result);
  const { dataAsOf, seenAt, seenAfter, silentAt } = signs;
  const whole = nothingLost(result.disks);
  return [
    [
      'Data as of',
      `${recoveryPointTime}: ${whole ? 'all that the source had written' : 'what was written after it is lost'}`,
    ],
    ["Host's clock", clockText(result.hostClockAheadMs)],
    [
      'Host last seen',
      seenAt === undefined
        ? undefined
        : seenAfter
          ? `${seenAt}, ${laterText(dataAsOf, seenAt)}`
          : `${seenAt}, with that data: how long it wrote after it is not known`,
    ],
    ['Silent since', silentAt],
    ['Declared', declaredAt],
    ['Failed over', failedOverAt],
    ['Running', runningAt],
    ['RPO', lossText(rpoSeconds, whole, signs)],
    ['RTO', `${formatSeconds(rtoSeconds)}${runningAt === undefined ? '' : ': from declaring it until the VM ran'}`],
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
    return `at least ${loss}: from the data until the failover; more if the source went on writing until it was off`;
  if (silentAt !== undefined) {
    return `at most ${boundText(seconds)}: from the data until the host did not answer any more; more only if it wrote unseen`;
  }
  return seenAfter
    ? `${loss}: from the data until the host was last seen; more only if it wrote unseen`
    : `up to ${loss}: from the data until the failover, as the host was not heard in between`;
}

const clockText = (aheadMs: number | undefined): string | undefined =>
  aheadMs === undefined
    ? undefined
    : `${formatDuration(Math.abs(aheadMs))} ${aheadMs > 0 ? 'ahead' : 'behind'}: the time of the data is by it, all others are not`;

const laterText = (dataAsOf: string, hostSeenAt: string): string =>
  `${formatSeconds(secondsBetween(dataAsOf, hostSeenAt))} after that data`;
