/** Where a VM runs: by what its protection or the vault says, and whether it is on there, by its hypervisor. */
import type { HeldReplica, ReplicaVmPower } from '../../domain/held-replica.js';
import { hostSilence } from '../../domain/host-silence.js';
import type { ProtectedItemView } from '../../domain/item-view.js';
import { isProtected } from '../../domain/protected-item.js';
import type { HypervisorAnswer } from '../../local/local-site.js';

interface Known {
  readonly view: ProtectedItemView | undefined;
  /** Of a VM that is not protected. */
  readonly held: HeldReplica | undefined;
  /** Of the hypervisor of its host. */
  readonly answer: HypervisorAnswer;
  /** Of a VM that should run at the recovery site; undefined: nobody has told. */
  readonly replicaVm?: ReplicaVmPower | undefined;
}

export const isProtectedNow = (view: ProtectedItemView | undefined): boolean =>
  view !== undefined && isProtected(view.item);

/** What protects it knows best; of a VM that is not protected, the vault does. */
export const activeSideOf = (
  view: ProtectedItemView | undefined,
  held: HeldReplica | undefined,
): 'primary' | 'recovery' =>
  view && isProtectedNow(view) ? view.item.activeSide : held?.state ? 'recovery' : 'primary';

/** Where it runs, if that is not as one would think of a VM that is listed with its host. */
export function remarkOnPlace(vm: string, { view, answer, held, replicaVm }: Known): string[] {
  if (activeSideOf(view, held) === 'recovery') {
    if (replicaVm === 'Off' || replicaVm === 'NotThere')
      return [`should run at the recovery site, and does not: farshore vm start ${vm}`];
    if (answer.vm?.state === 'Running') return ['runs at both sides: POWER is that of its source, which must be off'];
    return [answer.vm ? 'runs at the recovery site, POWER is that of its source' : 'runs at the recovery site'];
  }
  return answer.vm?.state === 'Off' ? [`off at the primary site: farshore vm start ${vm}`] : [];
}

/** Whatever is asked of it, it runs at that side only if it has been started there. */
export function whereText({ view, held, answer, replicaVm }: Known): string {
  const side = activeSideOf(view, held);
  const power = side === 'primary' ? answer.vm?.state : replicaVm;
  const isSourceOn = side === 'recovery' && answer.vm?.state === 'Running';
  if (power === 'NotThere')
    return `should run at the recovery site, and its replica VM is not there${isSourceOn ? '; its source at the primary site is on' : ''}`;
  const source = isSourceOn ? ', and so does its source at the primary site' : '';
  // Of a host that does not answer nobody knows it.
  const isUnseen = power === undefined && view !== undefined && hostSilence(view.item) !== undefined;
  if (isUnseen) return `ran at the ${side} site when its host was last heard`;
  return `${power === 'Off' ? 'is off' : 'runs'} at the ${side} site${source}`;
}

/** Of the VM on its host. */
export function powerText({ view, held, answer }: Known): string {
  const power = answer.vm?.state ?? 'power unknown';
  return activeSideOf(view, held) === 'recovery' ? `its source there: ${power}` : power;
}
