/** What of a vault needs attention, and what to do about it: every command that is named works now. */
import { counted } from './counted.js';
import type { Condition, Health } from './health.js';
import type { HeldReplica, ReplicaVmPower } from './held-replica.js';
import { comesOfSilence, hostSilence, isHostLost, type HostSilence } from './host-silence.js';
import type { ProtectedItemView } from './item-view.js';
import { failOver, nextStep, nextStepText } from './next-step.js';
import { isProtected, type ProtectedItem } from './protected-item.js';
import { BEFORE_THAT, startAgent, startHost, startHypervisorAlone, startProvider } from './start-again.js';
import { formatSeconds, secondsBetween } from './time.js';

export interface Attention {
  /** The VMs it is about. */
  readonly vms: readonly string[];
  /** Set when it is about a whole host. */
  readonly host?: string;
  readonly health: Exclude<Health, 'Normal'>;
  readonly message: string;
  /** ISO 8601. */
  readonly since?: string;
  /** Of a host: its last sign of life, ISO 8601. */
  readonly heardAt?: string;
  /** What to do: sentences, and commands to type. */
  readonly advice: readonly string[];
}

/** A VM, and what is known of its protection. */
export interface Viewed {
  readonly vm: string;
  readonly view: ProtectedItemView | undefined;
}

/**
 * All of its VMs at once: whoever has lost a host has lost them all.
 * @param sourceVms VMs at the primary site, as far as their hypervisors can be asked: one that answers is not lost.
 */
export function silentHost(
  silence: HostSilence,
  views: readonly Viewed[],
  at: string,
  sourceVms: ReadonlyMap<string, 'Running' | 'Off'> = new Map(),
): Attention {
  const { host } = silence;
  const of = views.filter(({ view }) => view && view.item.host === host && hostSilence(view.item));
  const vms = of.map(({ vm }) => vm);
  const lost = isHostLost(silence, at);
  const able = of.filter(({ view }) => view!.operations.unplannedFailover.allowed).map(({ vm }) => vm);
  const cancelled = of.filter(({ vm, view }) => able.includes(vm) && view!.item.job).map(({ vm }) => vm);
  const underWay = of.filter(({ view }) => view!.item.job?.kind === 'unplannedFailover').map(({ vm }) => vm);
  const neither = vms.filter((vm) => !able.includes(vm) && !underWay.includes(vm));
  const heard =
    silence.heardAt === undefined
      ? `silent for ${formatSeconds(secondsBetween(silence.since, at))}`
      : `last heard ${formatSeconds(secondsBetween(silence.heardAt, at))} ago`;
  const running = vms.filter((vm) => sourceVms.get(vm) === 'Running');
  const isAlive = running.length > 0;
  const onlyPart = isAlive
    ? `The agent of host ${host} does not answer, and its hypervisor does`
    : silence.silent === 'hypervisor'
      ? `The hypervisor of host ${host} does not answer, and its agent does`
      : undefined;
  return {
    vms,
    host,
    health: lost ? 'Critical' : 'Warning',
    message: `${onlyPart ?? `Host ${host} ${lost ? 'lost' : 'does not answer'}`}, ${counted(vms.length, 'VM')} (${vms.join(', ')}), ${heard}`,
    since: silence.since,
    ...(silence.heardAt !== undefined && { heardAt: silence.heardAt }),
    advice: [
      ...(isAlive
        ? [
            `${running.join(', ')} ${running.length === 1 ? 'runs' : 'run'} there, so start its agent again: ${startAgent(host)}. ${BEFORE_THAT}. Replication then continues by itself.`,
          ]
        : onlyPart === undefined
          ? []
          : [startHypervisorAlone(host)]),
      ...(able.length > 0
        ? [
            `${onlyPart === undefined ? 'Fail over' : 'Only where it is to be given up'}: ${failOver(able, silence, at).command}`,
          ]
        : []),
      ...(cancelled.length > 0 ? [`That cancels what runs of ${cancelled.join(', ')}.`] : []),
      ...(underWay.length > 0 ? [`Being failed over: ${underWay.join(', ')}.`] : []),
      ...(neither.length > 0
        ? [`Without a recovery point, and so nothing to fail over to: ${neither.join(', ')}.`]
        : []),
      ...(onlyPart !== undefined ? [] : [`If the host is not lost, start again ${startHost(host)}`]),
    ],
  };
}

/** What is told of the whole host is not told of each of its VMs again. */
export function attentionOf(vm: string, view: ProtectedItemView, at: string): Attention[] {
  const silence = hostSilence(view.item);
  const own = view.conditions.filter(({ reason }) => !silence || !comesOfSilence(reason));
  return own.map((condition, index) => {
    const { health, message, since, remedy } = condition;
    const step = index === 0 && !silence ? stepFor(vm, view, condition, at) : undefined;
    return {
      vms: [vm],
      health,
      // Where a hypervisor tells of several VMs, it says itself which one it is about.
      message: message.startsWith(`${vm}: `) ? message : `${vm}: ${message}`,
      ...(since !== undefined && { since }),
      advice: [remedy, step].filter((line) => line !== undefined),
    };
  });
}

/** A remedy that is a command says it all, and what need not be done is no advice. */
function stepFor(vm: string, view: ProtectedItemView, { remedy }: Condition, at: string): string | undefined {
  if (remedy?.includes('farshore ')) return undefined;
  const step = nextStep(vm, view, at);
  return step.optional ? undefined : nextStepText(step);
}

/** Temporal knows nothing of it: its database was lost. */
export const unattendedReplica = (vm: string, isNamed: boolean): Attention => ({
  vms: [vm],
  health: 'Critical',
  message: `${vm}: the vault holds a replica that nothing keeps up to date: Temporal knows nothing of the VM`,
  advice: [
    isNamed ? `farshore vault adopt ${vm}` : `Name the VM in the site file again, then: farshore vault adopt ${vm}`,
  ],
});

/** @param item undefined of a VM that is not protected. @param held what the vault says of such a one. */
export const shouldRunAsReplica = (item: ProtectedItem | undefined, held: HeldReplica['state']): boolean =>
  item ? item.activeSide === 'recovery' && !item.job : held !== undefined;

/** @param replicaVms undefined: nobody has told. @returns undefined of a VM that need not run at the recovery site, too. */
export function replicaVmPower(
  vm: string,
  item: ProtectedItem | undefined,
  held: HeldReplica['state'],
  replicaVms: ReadonlyMap<string, 'Running' | 'Off'> | undefined,
): ReplicaVmPower | undefined {
  if (!replicaVms || !shouldRunAsReplica(item && isProtected(item) ? item : undefined, held)) return undefined;
  return replicaVms.get(vm) ?? 'NotThere';
}

/** What should run at the recovery site, and does not: a failover was made for it, and nothing starts it by itself. */
export function stoppedReplica(
  { vm, view }: Viewed,
  held: HeldReplica['state'],
  replicaVms: ReadonlyMap<string, 'Running' | 'Off'>,
): Attention[] {
  const power = replicaVmPower(vm, view?.item, held, replicaVms);
  if (power === undefined || power === 'Running') return [];
  return [
    {
      vms: [vm],
      health: 'Critical',
      message: `${vm}: the VM runs at the recovery site by what the vault says, and its replica VM is ${power === 'Off' ? 'off' : 'not there'}`,
      advice: [`farshore vm start ${vm}`],
    },
  ];
}

/** Its source goes on running, or was turned on again: guests and clients write there what is nowhere else. */
export function runningSource(
  { vm, view }: Viewed,
  held: HeldReplica['state'],
  sourceVms: ReadonlyMap<string, 'Running' | 'Off'>,
): Attention[] {
  if (!shouldRunAsReplica(view?.item, held) || sourceVms.get(vm) !== 'Running') return [];
  return [
    {
      vms: [vm],
      health: 'Critical',
      message: `${vm}: the VM runs at both sides: its source was not turned off, and what is written there stays there`,
      advice: [
        view?.item.sourceFence
          ? `Start the Provider again, and the source is turned off by itself: ${startProvider(view.item.vmmServer)}. ${BEFORE_THAT}.`
          : 'Shut the source down on its host.',
      ],
    },
  ];
}

/** It was renamed, or taken out, while it was protected. */
export const unnamed = (vm: string, { operations }: ProtectedItemView): Attention => ({
  vms: [vm],
  health: 'Warning',
  message: `${vm}: the site file does not name the VM, and it is protected`,
  advice: [
    `Put it back into the site file under this name${operations.disableProtection.allowed ? `, or end its protection: farshore unprotect ${vm}` : ''}`,
  ],
});
