/** A host that does not answer, as known from the VMs that are replicated from it. */
import { toFailure, type FailureCode } from './errors.js';
import { isReplicated, type ProtectedItem } from './protected-item.js';
import { earlier, later, toMs } from './time.js';

/** Failures that mean that a host does not answer at all. */
const silentCodes: ReadonlySet<string> = new Set<FailureCode>(['AgentNotAnswering', 'HypervisorUnreachable']);

/** @param code of a failure, or the reason of a condition. */
export const saysHostIsSilent = (code: string): boolean => silentCodes.has(code);

/** Consequences of a silent host, which add nothing to that fact. @param reason of a condition. */
export const comesOfSilence = (reason: string): boolean => saysHostIsSilent(reason) || consequences.has(reason);
const consequences: ReadonlySet<string> = new Set(['WorkerLost', 'CyclesMissed', 'NotSentForLong']);

/** A host that has not answered for this long is considered lost, ms. */
export const HOST_LOST_AFTER_MS = 120_000;

export interface HostSilence {
  readonly host: string;
  /** When it was asked for what it has not answered since, ISO 8601. */
  readonly since: string;
  /** Its last known sign of life, ISO 8601. */
  readonly heardAt?: string;
  /**
   * `agent`: the agent does not answer, and perhaps nothing on the host does. `hypervisor`: the agent reports that the
   * hypervisor does not answer.
   */
  readonly silent: 'agent' | 'hypervisor';
}

/** Undefined while the host answers, and for a VM that needs nothing from it. */
export function hostSilence(item: ProtectedItem): HostSilence | undefined {
  if (!isReplicated(item)) return undefined;
  const found = [item.hostTrouble, item.retry, item.job?.retry, item.unresolved].filter(
    (trouble) => trouble !== undefined && saysHostIsSilent(trouble.failure.code),
  );
  if (found.length === 0) return undefined;
  const heardAt = lastHeard(item);
  return {
    host: item.host,
    since: found.map((trouble) => trouble!.since).reduce(earlier),
    ...(heardAt !== undefined && { heardAt }),
    silent: found.some((trouble) => trouble!.failure.code !== 'HypervisorUnreachable') ? 'agent' : 'hypervisor',
  };
}

/**
 * Combines what the VMs of a host know of its silence: each notices it at a different time, and the earliest one
 * counts.
 */
export function silenceOf(host: string, items: readonly ProtectedItem[]): HostSilence | undefined {
  const known = items.filter((item) => item.host === host).flatMap((item) => hostSilence(item) ?? []);
  if (known.length === 0) return undefined;
  return known.reduce((a, b) => {
    const heard = [a.heardAt, b.heardAt].filter((time) => time !== undefined);
    return { ...a, since: earlier(a.since, b.since), ...(heard.length > 0 && { heardAt: heard.reduce(later) }) };
  });
}

/** One silence for each host that VMs are replicated from; empty if one of these hosts answers. */
export function commonSilences(items: readonly ProtectedItem[]): HostSilence[] {
  const hosts = [...new Set(items.filter(isReplicated).map(({ host }) => host))];
  const silences = hosts.flatMap((host) => silenceOf(host, items) ?? []);
  return silences.length === hosts.length ? silences : [];
}

/** The VM in the state that it will have once it learns of its host's silence. */
export function toldOf(item: ProtectedItem, { host, since, heardAt, silent }: HostSilence): ProtectedItem {
  if (item.host !== host || !isReplicated(item) || hostSilence(item)) return item;
  const code = silent === 'agent' ? 'AgentNotAnswering' : 'HypervisorUnreachable';
  const failure = toFailure(code);
  return { ...item, hostTrouble: { failure, since, ...(heardAt !== undefined && { heardAt }) } };
}

/** @param now ISO 8601. */
export const isHostLost = ({ since }: HostSilence, now: string): boolean =>
  toMs(now) - toMs(since) >= HOST_LOST_AFTER_MS;

/**
 * The host's last sign of life, ISO 8601: as heard by the watch over the host, so it is the same for all of its VMs. A
 * cycle counts only if the watch has heard nothing, or if the host sent the cycle after it was found silent.
 */
export function lastHeard({ hostTrouble, shipped }: ProtectedItem): string | undefined {
  const heardAt = hostTrouble?.heardAt;
  if (heardAt === undefined) return shipped?.sealedAt;
  return shipped && toMs(shipped.sealedAt) > toMs(hostTrouble!.since) ? later(heardAt, shipped.sealedAt) : heardAt;
}
