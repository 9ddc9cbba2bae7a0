/**
 * Whether a VM's host answers now, as known from its VMs, from its agent's next look, and, if the hypervisor runs on
 * this machine, from the hypervisor itself.
 */
import { hostSilence, lastHeard } from '../domain/host-silence.js';
import type { HostState } from '../domain/host.js';
import { taskQueues } from '../domain/ids.js';
import type { ProtectedItem } from '../domain/protected-item.js';
import { earlier, toIso } from '../domain/time.js';
import { newestLook, type listener } from '../temporal/host-hearing.js';
import type { LocalSite } from '../local/local-site.js';
import { POLLER_GONE_MS } from '../temporal/pollers.js';
import { seenWorkers } from '../temporal/seen-workers.js';
import type { Farshore } from './farshore.js';

export interface HostSign {
  readonly host: string;
  readonly answers: boolean;
  /** The host does not answer, but its agent does: restarting the hypervisor loses nothing. */
  readonly hypervisorAlone?: true;
  /** Last known sign of life, ISO 8601; undefined if there is none. */
  readonly seenAt?: string;
  /** From when on the host did not answer, ISO 8601; undefined while it does. */
  readonly silentAt?: string;
  /** How far the host's clock is ahead of Temporal's, ms; undefined while they agree. */
  readonly clockAheadMs?: number;
  /** Power state of the VM on that host, if its hypervisor answers here. */
  readonly power?: 'Running' | 'Off';
  /** Whether the Provider on the VMM server, which shuts VMs down, answers. */
  readonly providerAnswers: boolean;
}

/**
 * @param listenTo see `listener`.
 * @param isHere whether the hypervisors run on this machine, so that one that does not answer is not running.
 */
export async function hostSign(
  farshore: Farshore,
  listenTo: ReturnType<typeof listener>,
  local: LocalSite,
  item: ProtectedItem,
  isHere: boolean,
): Promise<HostSign> {
  const { vault, host, vmmServer, vm } = item;
  const provider = taskQueues.vmm(vault, vmmServer);
  const [seen, vms, first] = await Promise.all([
    // A caller without permission to list pollers relies on the other signs.
    seenWorkers(farshore.temporal, [taskQueues.host(vault, host), provider]).catch(() => undefined),
    local.hypervisorVms(host),
    // Read now, because after a wait in vain the pending look may be a new one that was not taken yet and tells
    // nothing.
    newestLook(farshore.temporal, vault, host).catch(() => undefined),
  ]);
  const polls = (queue: string) => {
    const at = seen?.get(queue);
    return seen === undefined || (at !== undefined && Date.now() - Date.parse(at) < POLLER_GONE_MS);
  };
  const power = vms?.find(({ name }) => name === vm)?.state;
  const common = { host, ...(power && { power }), providerAnswers: polls(provider) };
  const { hostTrouble } = item;
  const silence = hostSilence(item);
  if (silence) {
    const alone = silence.silent === 'hypervisor' && { hypervisorAlone: true as const };
    return { ...common, ...alone, answers: false, ...silentSign(item, hostTrouble, hostTrouble?.since) };
  }
  const isGone = isHere && vms === undefined;
  const heard = await listenTo(host);
  const answers = !isGone && (heard ? heard.answers : polls(taskQueues.host(vault, host)));
  if (answers) return { ...common, answers, seenAt: toIso(Date.now()) };
  const look = heard?.look ?? first;
  const now = toIso(Date.now());
  const alone = heard?.agentAnswers && { hypervisorAlone: true as const };
  return { ...common, ...alone, answers, ...silentSign(item, look, look ? earlier(look.askedAt, now) : now) };
}

/** @param heard the host's last sign of life, from the watch over it. */
function silentSign(
  item: ProtectedItem,
  heard: Pick<HostState, 'heardAt' | 'clockAheadMs'> | undefined,
  silentAt: string | undefined,
): Pick<HostSign, 'seenAt' | 'silentAt' | 'clockAheadMs'> {
  // If the VM has not been told of the silence yet, the watch's sign of life is newer than the VM's newest cycle.
  const seenAt = (item.hostTrouble ? undefined : heard?.heardAt) ?? lastHeard(item);
  return {
    ...(seenAt !== undefined && { seenAt }),
    ...(silentAt !== undefined && { silentAt }),
    ...(heard?.clockAheadMs !== undefined && { clockAheadMs: heard.clockAheadMs }),
  };
}
