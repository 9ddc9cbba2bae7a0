/** Everything in a vault that needs attention, with advice: every command named in it works now. */
import { counted } from './counted.js';
import type { Condition, Health } from './health.js';
import type { HeldReplica, ReplicaVmPower } from './held-replica.js';
import { comesOfSilence, hostSilence, isHostLost, type HostSilence } from './host-silence.js';
import type { ProtectedItemView } from './item-view.js';
import { waitsForPerson } from './job.js';
import { titleOf } from './jobs/known-jobs.js';
import { isHalfCancelled } from './jobs/cancel-failover.js';
import { failOver, nextStep, nextStepText } from './next-step.js';
import { isProtected, type ProtectedItem } from './protected-item.js';
import { BEFORE_THAT, startAgent, startHost, startHypervisorAlone, startProvider } from './start-again.js';
import { formatSeconds, secondsBetween } from './time.js';

export interface Attention {
  /** The affected VMs. */
  readonly vms: readonly string[];
  /** Set when a whole host is affected. */
  readonly host?: string;
  readonly health: Exclude<Health, 'Normal'>;
  readonly message: string;
  /** ISO 8601. */
  readonly since?: string;
  /** The host's last sign of life, ISO 8601. */
  readonly heardAt?: string;
  /** Sentences, and commands to type. */
  readonly advice: readonly string[];
}

/** A VM and its protection, where known. */
export interface Viewed {
  readonly vm: string;
  readonly view: ProtectedItemView | undefined;
}

/**
 * One entry for all VMs of the host: a lost host affects them all.
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
  if (running.length > 0 && silence.silent === 'hypervisor') return answersAgain(silence, vms);
  const isAlive = running.length > 0;
  const onlyPart = isAlive
    ? `The agent of host ${host} does not answer, but its hypervisor does`
    : silence.silent === 'hypervisor'
      ? `The hypervisor of host ${host} does not answer, but its agent does`
      : undefined;
  return {
    vms,
    host,
    health: lost ? 'Critical' : 'Warning',
    message: `${onlyPart ?? `Host ${host} ${lost ? 'lost' : 'does not answer'}`}${onlyPart === undefined ? ',' : ':'} ${counted(vms.length, 'VM')} (${vms.join(', ')}), ${heard}`,
    since: silence.since,
    ...(silence.heardAt !== undefined && { heardAt: silence.heardAt }),
    advice: [
      ...(isAlive
        ? [
            `${running.join(', ')} ${running.length === 1 ? 'runs' : 'run'} there, so restart only the agent: ${startAgent(host)}. ${BEFORE_THAT}. Replication then resumes automatically.`,
          ]
        : onlyPart === undefined
          ? []
          : [startHypervisorAlone(host)]),
      ...(able.length > 0
        ? [
            `${onlyPart === undefined ? 'Fail over' : 'Only if you give up the host'}: ${failOver(able, silence, at).command}`,
          ]
        : []),
      ...(cancelled.length > 0 ? [`The failover cancels the running jobs of ${cancelled.join(', ')}.`] : []),
      ...(underWay.length > 0 ? [`Being failed over: ${underWay.join(', ')}.`] : []),
      ...(neither.length > 0 ? [`Cannot be failed over, as there is no recovery point: ${neither.join(', ')}.`] : []),
      ...(onlyPart !== undefined ? [] : [`If the host is not lost, restart ${startHost(host)}`]),
    ],
  };
}

/** Its hypervisor can be asked, and its VMs have not been told yet. */
const answersAgain = ({ host, since }: HostSilence, vms: readonly string[]): Attention => ({
  vms,
  host,
  health: 'Warning',
  message: `The hypervisor of host ${host} answers again; the replication of ${vms.join(', ')} continues in a few seconds`,
  since,
  advice: [],
});

/** A problem reported for the whole host is not repeated for each of its VMs. */
export function attentionOf(vm: string, view: ProtectedItemView, at: string): Attention[] {
  const silence = hostSilence(view.item);
  const own = view.conditions.filter(({ reason }) => !silence || !comesOfSilence(reason));
  return own.map((condition, index) => {
    const { health, message, since, remedy } = condition;
    const step = index === 0 && !silence ? stepFor(vm, view, condition, at) : undefined;
    return {
      vms: [vm],
      health,
      // A hypervisor that serves several VMs names the VM in its message.
      message: message.startsWith(`${vm}: `) ? message : `${vm}: ${message}`,
      ...(since !== undefined && { since }),
      advice: [remedy, step].filter((line) => line !== undefined),
    };
  });
}

/** A test failover whose job waits for an operator; the replication of the VM is not affected. */
export function waitingDrill(vm: string, { item: { drill } }: ProtectedItemView): Attention[] {
  const job = drill?.job;
  if (!job?.retry || !waitsForPerson(job)) return [];
  const { failure, since } = job.retry;
  return [
    {
      vms: [vm],
      health: 'Warning',
      message: `${vm}: the job "${titleOf(job.kind)}" waits for an operator: ${failure.message}`,
      since,
      advice: [failure.remedy, `farshore retry ${vm}, or end it: farshore job cancel ${job.jobId}`],
    },
  ];
}

/** A remedy that is a command needs no further step, and an optional step is not advice. */
function stepFor(vm: string, view: ProtectedItemView, { remedy }: Condition, at: string): string | undefined {
  if (remedy?.includes('farshore ')) return undefined;
  const step = nextStep(vm, view, at);
  return step.optional ? undefined : nextStepText(step);
}

/** Temporal has no workflow for the VM: its database was lost. */
export const unattendedReplica = (vm: string, isNamed: boolean): Attention => ({
  vms: [vm],
  health: 'Critical',
  message: `${vm}: the vault holds a replica, but Temporal has no protection workflow for the VM, so the replica is going stale`,
  advice: [
    isNamed ? `farshore vault adopt ${vm}` : `Add the VM to the site file again, then: farshore vault adopt ${vm}`,
  ],
});

/** @param item undefined if the VM is not protected. @param held the state that the vault records of such a VM. */
export const shouldRunAsReplica = (item: ProtectedItem | undefined, held: HeldReplica['state']): boolean =>
  item ? item.activeSide === 'recovery' && !item.job && !isHalfCancelled(item) : held !== undefined;

/** @param replicaVms undefined if unknown. @returns undefined also for a VM that need not run at the recovery site. */
export function replicaVmPower(
  vm: string,
  item: ProtectedItem | undefined,
  held: HeldReplica['state'],
  replicaVms: ReadonlyMap<string, 'Running' | 'Off'> | undefined,
): ReplicaVmPower | undefined {
  if (!replicaVms || !shouldRunAsReplica(item && isProtected(item) ? item : undefined, held)) return undefined;
  return replicaVms.get(vm) ?? 'NotThere';
}

/** A VM that should run at the recovery site but does not: it was failed over, and nothing starts it automatically. */
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
      message: `${vm}: according to the vault, the VM runs at the recovery site, but its replica VM ${power === 'Off' ? 'is off' : 'does not exist'}`,
      advice: [`farshore vm start ${vm}`],
    },
  ];
}

/** Its source still runs, or was turned on again: data that guests and clients write there exists nowhere else. */
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
      message: `${vm}: the VM runs at both sites: its source is on, and data written there is not replicated`,
      advice: [
        view?.item.sourceFence
          ? `Restart the Provider: ${startProvider(view.item.vmmServer)}. ${BEFORE_THAT}. Farshore then turns off the source automatically.`
          : 'Shut down the source on its host.',
      ],
    },
  ];
}

/** The VM was renamed in, or removed from, the site file while it was protected. */
export const unnamed = (vm: string, { operations }: ProtectedItemView): Attention => ({
  vms: [vm],
  health: 'Warning',
  message: `${vm}: the VM is protected but missing from the site file`,
  advice: [
    `Add it to the site file again under this name${operations.disableProtection.allowed ? `, or end its protection: farshore unprotect ${vm}` : ''}`,
  ],
});
