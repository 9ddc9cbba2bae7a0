/**
 * Selects the sources whose power state matters: those of VMs that run at the recovery site, and those on silent hosts.
 */
import { shouldRunAsReplica } from '../domain/attention.js';
import type { HeldReplica } from '../domain/held-replica.js';
import { hostSilence } from '../domain/host-silence.js';
import { isProtected, type ProtectedItem } from '../domain/protected-item.js';
import type { Site } from '../domain/site.js';

/** @returns the host of each VM. */
export function sourcesToAsk(
  { vms }: Site,
  items: ReadonlyMap<string, ProtectedItem>,
  held: readonly HeldReplica[],
): ReadonlyMap<string, string> {
  const here = new Map(vms.map(({ name, host }) => [name, host]));
  const asked = [...items.values()].filter(
    (item) => hostSilence(item) !== undefined || (isProtected(item) && shouldRunAsReplica(item, undefined)),
  );
  const kept = held.flatMap(({ vm, state }) => {
    const host = here.get(vm);
    return state && host !== undefined ? [[vm, host] as const] : [];
  });
  return new Map([...kept, ...asked.map(({ vm, host }) => [vm, host] as const)]);
}
