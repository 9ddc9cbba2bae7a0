/** The task queues of a deployment, and the workers that must poll them. */
import { taskQueues } from '../domain/ids.js';
import { commonSilences } from '../domain/host-silence.js';
import { isReplicated, type ProtectedItem } from '../domain/protected-item.js';
import { startWorker } from '../domain/start-again.js';
import { formatDuration, toMs } from '../domain/time.js';
import { ACTIVITIES, POLLER_GONE_MS, WORKFLOWS, type Poller } from '../temporal/pollers.js';
import { ok, problem, warning, type Finding } from './check.js';
import { nameAgain, type Part, type Scope } from './scope.js';

export interface Queue {
  readonly queue: string;
  readonly types: readonly (typeof WORKFLOWS | typeof ACTIVITIES)[];
  /** How to start its worker. */
  readonly remedy: string;
  /** Whether the replication of a VM depends on it. */
  serves?(item: ProtectedItem): boolean;
  /** Set if its worker is the agent of a host. */
  readonly isAgent?: true;
}

export function queuesOf(vault: string, { vmmServers, hosts }: Scope): Queue[] {
  const queue = (
    name: string,
    role: Parameters<typeof startWorker>[0],
    what: string,
    part: Part,
    types: Queue['types'],
  ): Queue => {
    const start = `start the worker: ${startWorker(role, part.name)}`;
    // A worker cannot be started for a name that is missing from the site file.
    return { queue: name, types, remedy: part.onlyFor ? `${nameAgain(what, part)}; then ${start}` : start };
  };
  return [
    queue(taskQueues.azure(vault), 'azure', 'vault', { name: vault }, [WORKFLOWS, ACTIVITIES]),
    ...vmmServers.map((part) => ({
      ...queue(taskQueues.vmm(vault, part.name), 'vmm', 'VMM server', part, [ACTIVITIES]),
      serves: ({ vmmServer }: ProtectedItem) => vmmServer === part.name,
    })),
    ...hosts.map((part) => ({
      ...queue(taskQueues.host(vault, part.name), 'host', 'host', part, [ACTIVITIES]),
      serves: ({ host }: ProtectedItem) => host === part.name,
      isAgent: true as const,
    })),
  ];
}

/**
 * If a poll began this much later than the host was last heard, its worker is alive although the host is silent, ms.
 */
const OUTLIVED_MS = 5_000;
const UNSURE = `; a worker that has died since then is noticed only after ${formatDuration(POLLER_GONE_MS)}`;

/**
 * A poll lasts a minute, and the server remembers it even if its worker has died or hangs meanwhile. So the state known
 * from the agent takes precedence, and workers beside a host that does not answer are reported as possibly gone.
 * @param polls for each type of the queue. @param now ms, by the server's clock.
 */
export function queueFinding(
  { types, remedy, serves, isAgent }: Queue,
  polls: readonly (readonly Poller[])[],
  items: readonly ProtectedItem[],
  now: number,
): Finding {
  const lives = ({ at }: Poller) => now - at < POLLER_GONE_MS;
  const ago = (at: number) => formatDuration(Math.max(0, now - at));
  const lacking = types.filter((_, index) => !polls[index]!.some(lives));
  if (lacking.length > 0) {
    const what = lacking.map((type) => (type === WORKFLOWS ? 'workflows' : 'activities')).join(' and ');
    const last = Math.max(0, ...polls.flat().map(({ at }) => at));
    return problem(`no worker polls it for ${what}${last > 0 ? `; the last poll was ${ago(last)} ago` : ''}`, remedy);
  }
  const newest = new Map<string, number>();
  for (const { identity, at } of polls.flat().filter(lives)) {
    newest.set(identity, Math.max(at, newest.get(identity) ?? 0));
  }
  const polled = `was polled by ${[...newest]
    .toSorted(([, a], [, b]) => b - a)
    .map(([identity, at]) => `${identity}, ${ago(at)} ago`)
    .join('; ')}`;
  const served = serves ? items.filter(serves) : [];
  // If the agent reports its hypervisor, that says nothing about the Provider.
  const silences = commonSilences(served).filter(({ silent }) => isAgent || silent === 'agent');
  const [silence] = silences;
  // If a VM is replicated from the host, its watch would have noticed the silence.
  if (!silence) return ok(isAgent && !served.some(isReplicated) ? `${polled}${UNSURE}` : polled);
  const hosts = silences.map(({ host }) => host).join(', ');
  if (!isAgent) {
    const polledAt = Math.max(...newest.values());
    // It has polled since the hosts were last heard.
    if (silences.every(({ heardAt }) => heardAt !== undefined && polledAt > toMs(heardAt) + OUTLIVED_MS)) {
      return ok(polled);
    }
    return warning(
      `${polled}, but may be down: ${hosts}, which it serves, does not answer`,
      `if it is down: ${remedy}`,
    );
  }
  const { silent, heardAt } = silence;
  if (silent === 'hypervisor') {
    return warning(
      `${polled}; the hypervisor of ${hosts} does not answer`,
      `start the hypervisor first; if the agent is down too: ${remedy}`,
    );
  }
  // If a worker hangs, the server keeps saying that it has just polled.
  const heard = heardAt === undefined ? '' : `, and was last heard ${ago(toMs(heardAt))} ago`;
  return problem(`its worker does not answer${heard}`, `if it hangs, end it; then ${remedy}`);
}
