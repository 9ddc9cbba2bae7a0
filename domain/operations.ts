/** What may be asked of a protected item in which state, and why not the rest. */
import { hostSilence } from './host-silence.js';
import { askedJobs, titleOf, type AskedKind } from './jobs/known-jobs.js';
import { gatesOf, no, yes, type Permission } from './permission.js';
import { seedingStopped, type ProtectedItem } from './protected-item.js';

/** What is done at once, and is no job. */
const settings = ['sync', 'retry', 'pause', 'resume', 'setPolicy'] as const;
export type Operation = (typeof settings)[number] | AskedKind;

/** In the order of the life of a VM. */
const inOrder = <T>([first, ...rest]: readonly T[], ofSettings: readonly T[]): T[] => [first!, ...ofSettings, ...rest];

export const operations: readonly Operation[] = inOrder<Operation>(
  askedJobs().map(({ kind }) => kind as AskedKind),
  settings,
);

/** What may be asked of the VM now, and why not the rest. */
export function allowedOperations(item: ProtectedItem): Record<Operation, Permission> {
  const gates = gatesOf(item);
  const { busy, inPhase, resync, paused } = gates;
  const ofSettings: Record<(typeof settings)[number], Permission> = {
    sync: busy ?? inPhase('Protected', 'only a protected VM is synchronized') ?? resync ?? paused ?? yes,
    retry:
      item.retry || item.job?.retry || item.leftovers || seedingStopped(item)
        ? yes
        : no('nothing is waiting for a retry'),
    pause: busy ?? inPhase('Protected', 'only the replication of a protected VM is paused') ?? paused ?? yes,
    resume: item.paused ? yes : no('its replication is not paused'),
    setPolicy: item.phase === 'Unprotected' ? no('the VM is not protected') : yes,
  };
  const ofJobs = askedJobs().map(({ kind, allowed }): [string, Permission] => [kind, allowed(item, gates)]);
  return Object.fromEntries(inOrder(ofJobs, Object.entries(ofSettings))) as Record<Operation, Permission>;
}

/**
 * What is offered to whoever asks: less than the state allows where the VM's host does not answer. Kept apart from what the
 * state allows, as a plan run's request that was accepted once has to be accepted whenever the history is gone through.
 */
export function offeredOperations(item: ProtectedItem): Record<Operation, Permission> {
  const allowed = allowedOperations(item);
  const silence = hostSilence(item);
  if (!silence || item.phase !== 'Protected') return allowed;
  const { host, heardAt } = silence;
  const heard = heardAt === undefined ? '' : ` (last heard at ${heardAt})`;
  const instead = allowed.unplannedFailover.allowed
    ? `, or, from what the vault holds: farshore failover ${item.vm} --type unplanned`
    : '';
  const late = (permission: Permission): Permission =>
    permission.allowed ? { allowed: true, waitsFor: `host ${host}, which does not answer` } : permission;
  const offered = { ...allowed, sync: late(allowed.sync), retry: late(allowed.retry) };
  for (const { kind, withoutHost } of askedJobs()) {
    const operation = kind as AskedKind;
    if (withoutHost === 'waits') offered[operation] = late(allowed[operation]);
    else if (withoutHost === 'refused') {
      offered[operation] = no(
        `its host ${host} does not answer${heard}, and a ${titleOf(kind).toLowerCase()} needs it: start again whichever is down there${instead}`,
      );
    }
  }
  return offered;
}
