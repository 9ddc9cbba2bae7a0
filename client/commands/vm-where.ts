/** Where a VM runs, according to its protection or the vault, and whether it is on there, according to its hypervisor. */
import type { HeldReplica, ReplicaVmPower } from '../../domain/held-replica.js';
import { hostSilence } from '../../domain/host-silence.js';
import type { ProtectedItemView } from '../../domain/item-view.js';
import { isProtected } from '../../domain/protected-item.js';
import type { HypervisorAnswer } from '../../local/local-site.js';

interface Known {
  readonly view: ProtectedItemView | undefined;
  /** For a VM that is not protected. */
  readonly held: HeldReplica | undefined;
  /** From the hypervisor of its host. */
  readonly answer: HypervisorAnswer;
  /** For a VM that should run at the recovery site; undefined: unknown. */
  readonly replicaVm?: ReplicaVmPower | undefined;
}

export const isProtectedNow = (view: ProtectedItemView | undefined): boolean =>
  view !== undefined && isProtected(view.item);

/** Its protection workflow knows best; for a VM that is not protected, the vault does. */
export const activeSideOf = (
  view: ProtectedItemView | undefined,
  held: HeldReplica | undefined,
): 'primary' | 'recovery' =>
  view && isProtectedNow(view) ? view.item.activeSide : held?.state ? 'recovery' : 'primary';

/** Where it runs, if that is unexpected for a VM listed with its host. */
export function remarkOnPlace(vm: string, { view, answer, held, replicaVm }: Known): string[] {
  if (activeSideOf(view, held) === 'recovery') {
    if (replicaVm === 'Off' || replicaVm === 'NotThere')
      return [`should run at the recovery site but does not: farshore vm start ${vm}`];
    if (answer.vm?.state === 'Running') return ['runs at both sites: POWER shows its source, which must be off'];
    return [answer.vm ? 'runs at the recovery site; POWER shows its source' : 'runs at the recovery site'];
  }
  return answer.vm?.state === 'Off' ? [`off at the primary site: farshore vm start ${vm}`] : [];
}

/** It runs at its active site only if it has been started there. */
export function whereText({ view, held, answer, replicaVm }: Known): string {
  const side = activeSideOf(view, held);
  const power = side === 'primary' ? answer.vm?.state : replicaVm;
  const isSourceOn = side === 'recovery' && answer.vm?.state === 'Running';
  if (power === 'NotThere')
    return `should run at the recovery site, but its replica VM does not exist${isSourceOn ? '; its source at the primary site is on' : ''}`;
  const source = isSourceOn ? ', and so does its source at the primary site' : '';
  // Unknown while its host does not answer.
  const isUnseen = power === undefined && view !== undefined && hostSilence(view.item) !== undefined;
  if (isUnseen) return `ran at the ${side} site when its host was last heard`;
  return `${power === 'Off' ? 'is off' : 'runs'} at the ${side} site${source}`;
}

/** The power state of the VM on its host. */
export function powerText({ view, held, answer }: Known): string {
  const power = answer.vm?.state ?? 'power unknown';
  return activeSideOf(view, held) === 'recovery' ? `its source there: ${power}` : power;
}
