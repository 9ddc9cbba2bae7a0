/** Which operations a protected item allows in which state, and why it refuses the others. */
import { hostSilence } from './host-silence.js';
import { askedJobs, titleOf, type AskedKind } from './jobs/known-jobs.js';
import { gatesOf, no, yes, type Permission } from './permission.js';
import { seedingStopped, type ProtectedItem } from './protected-item.js';
import { startHypervisor } from './start-again.js';

/** Operations that take effect immediately, without a job. */
const settings = ['sync', 'retry', 'pause', 'resume', 'setPolicy', 'completeFailback'] as const;
export type Operation = (typeof settings)[number] | AskedKind;

/** Orders the operations by the life of a VM: the first job, then the settings, then the other jobs. */
const inOrder = <T>([first, ...rest]: readonly T[], ofSettings: readonly T[]): T[] => [first!, ...ofSettings, ...rest];

export const operations: readonly Operation[] = inOrder<Operation>(
  askedJobs().map(({ kind }) => kind as AskedKind),
  settings,
);

/** The operations that the VM's state allows now, and why it refuses the others. */
export function allowedOperations(item: ProtectedItem): Record<Operation, Permission> {
  const gates = gatesOf(item);
  const { busy, inPhase, resync, paused } = gates;
  const alreadyPaused = item.paused && no(`its replication is already paused, since ${item.paused.since}`);
  const ofSettings: Record<(typeof settings)[number], Permission> = {
    sync: busy ?? inPhase('Protected', 'only a protected VM can be synchronized') ?? resync ?? paused ?? yes,
    retry:
      item.retry || item.job?.retry || item.drill?.job?.retry || item.leftovers || seedingStopped(item)
        ? yes
        : no('nothing is waiting for a retry'),
    pause: busy ?? inPhase('Protected', 'only the replication of a protected VM can be paused') ?? alreadyPaused ?? yes,
    completeFailback:
      item.phase === 'Committed' && item.job?.kind === 'failback' ? yes : no('no failback of it is running'),
    resume: item.paused ? yes : no('its replication is not paused'),
    setPolicy:
      item.phase === 'Unprotected' ? no(`the VM is not protected; first run: farshore protect ${item.vm} --wait`) : yes,
  };
  const ofJobs = askedJobs().map(({ kind, allowed }): [string, Permission] => [kind, allowed(item, gates)]);
  return Object.fromEntries(inOrder(ofJobs, Object.entries(ofSettings))) as Record<Operation, Permission>;
}

/**
 * The operations offered to callers: fewer than the state allows while the VM's host does not answer. Separate from
 * `allowedOperations`, because a plan run's request that was accepted once must be accepted in every replay.
 */
export function offeredOperations(item: ProtectedItem): Record<Operation, Permission> {
  const allowed = allowedOperations(item);
  const silence = hostSilence(item);
  if (!silence || item.phase !== 'Protected') return allowed;
  const { host, heardAt, silent } = silence;
  const heard = heardAt === undefined ? '' : ` (last heard at ${heardAt})`;
  const instead = allowed.unplannedFailover.allowed
    ? `; only if the host is lost: farshore failover ${item.vm} --type unplanned`
    : '';
  const [who, start] =
    silent === 'hypervisor'
      ? [`the hypervisor of host ${host}`, `restart it, and nothing is lost: ${startHypervisor(host)}`]
      : [`host ${host}`, `restart the processes that are down there${instead}`];
  const late = (permission: Permission): Permission =>
    permission.allowed ? { allowed: true, waitsFor: `host ${host}, which is not answering` } : permission;
  const offered = { ...allowed, sync: late(allowed.sync), retry: late(allowed.retry) };
  for (const { kind, withoutHost } of askedJobs()) {
    const operation = kind as AskedKind;
    if (withoutHost === 'waits') offered[operation] = late(allowed[operation]);
    else if (withoutHost === 'refused' && allowed[operation].allowed) {
      offered[operation] = no(
        `${who} is not answering${heard}, and a ${titleOf(kind).toLowerCase()} needs it; ${start}`,
      );
    }
  }
  return offered;
}
