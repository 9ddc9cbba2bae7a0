/** A host that does not answer, told from what the VMs that are replicated from it know. */
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

/** From then on a host that does not answer is taken for lost, ms. */
export const HOST_LOST_AFTER_MS = 120_000;

export interface HostSilence {
  readonly host: string;
  /** From when on it was asked, and has not answered. ISO 8601. */
  readonly since: string;
  /** Its last sign of life that is known, ISO 8601. */
  readonly heardAt?: string;
  /** The agent does not answer, and perhaps nothing there; or the hypervisor, as an agent says that does. */
  readonly silent: 'agent' | 'hypervisor';
}

/** Undefined while the host answers, and of a VM that needs nothing of it. */
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

/** What the VMs of a host know of its silence together: each has noticed it at another time, and the first counts. */
export function silenceOf(host: string, items: readonly ProtectedItem[]): HostSilence | undefined {
  const known = items.filter((item) => item.host === host).flatMap((item) => hostSilence(item) ?? []);
  if (known.length === 0) return undefined;
  return known.reduce((a, b) => {
    const heard = [a.heardAt, b.heardAt].filter((time) => time !== undefined);
    return { ...a, since: earlier(a.since, b.since), ...(heard.length > 0 && { heardAt: heard.reduce(later) }) };
  });
}

/** Of all hosts that VMs are replicated from, one each; none as long as one of them answers. */
export function commonSilences(items: readonly ProtectedItem[]): HostSilence[] {
  const hosts = [...new Set(items.filter(isReplicated).map(({ host }) => host))];
  const silences = hosts.flatMap((host) => silenceOf(host, items) ?? []);
  return silences.length === hosts.length ? silences : [];
}

/** The VM as it will be once it learns of its host's silence, which was found elsewhere. */
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
 * The host's last sign of life, ISO 8601: as heard by the watch over the host, the same for all of its VMs; a cycle counts only if
 * the watch has heard nothing, or if the host has sent the cycle since it was found silent.
 */
export function lastHeard({ hostTrouble, shipped }: ProtectedItem): string | undefined {
  const heardAt = hostTrouble?.heardAt;
  if (heardAt === undefined) return shipped?.sealedAt;
  return shipped && toMs(shipped.sealedAt) > toMs(hostTrouble!.since) ? later(heardAt, shipped.sealedAt) : heardAt;
}
