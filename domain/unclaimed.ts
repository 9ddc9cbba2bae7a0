/**
 * Which of the things that the two sites and the store hold belong to no VM of the vault any more. A thing is claimed
 * by the state of its VM: by its phase, a running job, a test failover, or the vault's record of where it runs. What
 * this module calls unclaimed may be deleted; in doubt, a thing is claimed.
 */
import { vaultPaths, type VaultState } from './vault.js';
import { isProtected, isReplicated, phaseText, type ProtectedItem } from './protected-item.js';

/** What can be left behind, and where it is. */
export const heldKinds = {
  replicaVm: { where: 'recovery', text: 'replica VM' },
  testVm: { where: 'recovery', text: 'test VM' },
  testHold: { where: 'store', text: 'hold of a test failover' },
  changeSets: { where: 'store', text: 'change sets of a failback' },
  copyRecords: { where: 'store', text: 'records of a copy' },
  verificationRecords: { where: 'store', text: 'records of a verification' },
  leases: { where: 'store', text: 'leases of dead readers' },
  snapshots: { where: 'store', text: 'snapshots without a recovery point' },
  formerDisks: { where: 'store', text: 'disks of earlier epochs' },
  records: { where: 'store', text: 'records without a replica' },
  evidence: { where: 'store', text: 'consoles and screens of test VMs' },
  replica: { where: 'store', text: 'replica' },
  unfinished: { where: 'recovery', text: 'files of a VM that was not completely made or deleted' },
  changeLogs: { where: 'primary', text: 'change logs' },
  vmSnapshot: { where: 'primary', text: 'VM snapshot' },
  failbackLayers: { where: 'primary', text: 'failback layers' },
  oldChangeLogs: { where: 'primary', text: 'change logs of earlier epochs' },
  vmState: { where: 'primary', text: "hypervisor's notes and guest files" },
} as const satisfies Record<string, { where: 'primary' | 'recovery' | 'store'; text: string }>;
export type HeldKind = keyof typeof heldKinds;
export const heldKindNames = Object.keys(heldKinds) as [HeldKind, ...HeldKind[]];

/** Something that a site or the store holds for a VM. There is at most one of a kind for each VM and place. */
export interface Held {
  readonly kind: HeldKind;
  readonly vm: string;
  /** Set if it is at the primary site. */
  readonly host?: string;
  /** Name of a test VM; for things that consist of several, their names. */
  readonly name?: string;
  readonly bytes?: number;
  /** When it was made or last changed, ISO 8601; undefined if that is unknown. */
  readonly since?: string;
  /** The epoch that it belongs to; of several, the newest. */
  readonly epoch?: number;
  /** Failback layers: they are part of the disks already, and are being merged. */
  readonly isCommitted?: boolean;
  /** Change logs, VM snapshots and failback layers: the VM runs on its host. */
  readonly isRunning?: boolean;
}

/** What is known of a VM. */
export interface VmClaims {
  /** Undefined if it is not protected. */
  readonly item?: ProtectedItem | undefined;
  /** Undefined if the store has no description of a replica. */
  readonly replica?: { readonly epoch: number; readonly unprotectedAt?: string } | undefined;
  /** Set while the vault says that the VM runs at the recovery site. */
  readonly state?: Pick<VaultState, 'phase' | 'recoveryPoint'> | undefined;
  /** Whether the store could be read for it; without that, everything counts as claimed. */
  readonly isStoreKnown: boolean;
  /** The site file names it. */
  readonly isNamed?: boolean;
}

export type Verdict =
  | { readonly is: 'claimed'; readonly reason: string }
  /** Kept although protection has ended, because an operator wanted that. */
  | { readonly is: 'kept'; readonly reason: string; readonly command?: string }
  | {
      readonly is: 'unclaimed';
      readonly reason: string;
      /** Such as "with the next recovery point"; undefined if it stays until it is removed. */
      readonly cleansItself?: string;
    };

const claimed = (reason: string): Verdict => ({ is: 'claimed', reason });
const unclaimed = (reason: string, cleansItself?: string): Verdict => ({
  ...{ is: 'unclaimed', reason },
  ...(cleansItself !== undefined && { cleansItself }),
});

export function verdictOn(held: Held, claims: VmClaims): Verdict {
  const { vm } = held;
  const { item, replica, state, isStoreKnown } = claims;
  if (!isStoreKnown) return claimed(`it is unknown what the vault holds of ${vm}`);
  const work = item && workOf(item);
  if (work !== undefined) return claimed(`${vm}: ${work}`);
  const isOver = !item || !isProtected(item);
  if (isOver && replica && replica.unprotectedAt === undefined) {
    return claimed(`the vault holds ${vm} as protected, but Temporal does not know it: farshore vault adopt`);
  }
  const running = isOver ? undefined : item;
  switch (held.kind) {
    case 'replicaVm':
      return onReplicaVm(vm, running, state);
    case 'testVm':
      if (running?.drill?.testVm === held.name) return claimed(`${vm}: its test failover is not cleaned up yet`);
      return unclaimed(`no test failover of ${vm} needs it`);
    case 'testHold':
      if (running?.drill) return claimed(`${vm}: its test failover is not cleaned up yet`);
      return unclaimed(`there is no test failover of ${vm} that reads its recovery point`);
    case 'changeSets':
      return onChangeSets(held, running, replica);
    case 'copyRecords':
      return onCopyRecords(vm, running);
    case 'verificationRecords':
      return unclaimed(`no verification of ${vm} is running`);
    case 'leases':
      return unclaimed('their time has ended', withNextCycle(running));
    case 'snapshots':
      return unclaimed('no recovery point names them', withNextCycle(running));
    case 'formerDisks':
      return unclaimed(`${vm} no longer has them, and no recovery point names them`, withNextCycle(running));
    case 'records':
      if (running) return claimed(`${vm} is ${phaseText[running.phase]}`);
      return unclaimed(`the vault has no replica of ${vm}`);
    case 'evidence':
      if (running?.drill) return claimed(`${vm}: its test failover is not cleaned up yet`);
      return unclaimed('there is no record of their test failover');
    case 'unfinished':
      if (running?.drill) return claimed(`${vm}: its test failover is not cleaned up yet`);
      return unclaimed(
        'there is no VM of this name',
        'when the recovery compute is started again, if it was being deleted',
      );
    case 'oldChangeLogs':
      return unclaimed('they are older than what is tracked', 'when the next epoch begins');
    case 'vmState':
      if (running || claims.isNamed || state) return claimed(`they keep ${vm} from running at two sites`);
      return unclaimed(`the site file does not name ${vm}, and nothing protects it`);
    case 'replica':
      if (running) return claimed(`${vm} is ${phaseText[running.phase]}`);
      return onKeptReplica(vm, replica);
    case 'changeLogs':
      if (running) return claimed(`${vm} is ${phaseText[running.phase]}`);
      return unclaimed(
        `${vm} is not protected`,
        state && !held.isRunning ? `when ${vm} is started on its host` : undefined,
      );
    case 'vmSnapshot':
      if (running && (running.phase === 'Seeding' || running.resync)) return claimed(`${vm} is being copied`);
      return unclaimed(`no job of ${vm} reads it`);
    case 'failbackLayers':
      return onFailbackLayers(held, running, state);
  }
}

/** Why everything of the VM may be in use now; undefined if its state claims what it needs. */
function workOf({ job, pending, leftovers, sourceFence }: ProtectedItem): string | undefined {
  if (job) return `its job ${job.jobId} is running`;
  if (pending.length > 0) return 'a job of it is about to begin';
  if (leftovers) return 'an ended job has left a step undone, which `farshore retry` undoes';
  if (sourceFence) return 'its source is not fenced yet';
  return undefined;
}

function onReplicaVm(vm: string, item: ProtectedItem | undefined, state: VmClaims['state']): Verdict {
  if (item && (item.activeSide === 'recovery' || item.phase === 'FailedBack')) {
    return claimed(`${vm} is ${phaseText[item.phase]}`);
  }
  if (state && item) return claimed(`the vault says that ${vm} runs at the recovery site`);
  if (state) {
    const reason = `the protection of ${vm} has ended; the vault says that the VM runs there`;
    return { is: 'kept', reason, command: `farshore vm delete-replica ${vm}` };
  }
  return unclaimed(
    item
      ? `${vm} runs at the primary site`
      : `${vm} is not protected, and the vault does not say that it was failed over`,
  );
}

function onChangeSets({ vm, epoch = 0 }: Held, item: ProtectedItem | undefined, replica: VmClaims['replica']): Verdict {
  if (!replica) return claimed(`the vault has no description of ${vm}, so their meaning is unknown`);
  if (item?.phase === 'FailedBack') return claimed(`${vm} is ${phaseText.FailedBack}`);
  if (item?.activeSide === 'primary' && epoch >= item.epoch) return claimed(`${vm} is replicated in this epoch`);
  return unclaimed(`no failback of ${vm} is running`);
}

function onCopyRecords(vm: string, item: ProtectedItem | undefined): Verdict {
  const isCopied = item?.phase === 'Seeding' || item?.resync !== undefined || (item && !item.applied);
  if (isCopied) return claimed(`${vm} is being copied`);
  return unclaimed(`no copy or comparison of ${vm} is running`);
}

function onKeptReplica(vm: string, replica: VmClaims['replica']): Verdict {
  const at = replica?.unprotectedAt;
  if (at === undefined) return claimed(`it is the replica of ${vm}`);
  return { is: 'kept', reason: `protection ended at ${at}, and the replica was kept until ${vm} is protected again` };
}

function onFailbackLayers(
  { vm, isCommitted, isRunning }: Held,
  item: ProtectedItem | undefined,
  state: VmClaims['state'],
): Verdict {
  if (item?.phase === 'FailedBack') return claimed(`${vm} is ${phaseText.FailedBack}`);
  if (isCommitted) return unclaimed(`the failback of ${vm} is committed, and no job merges them`);
  // Elsewhere, they may hold the newest data of the VM.
  const isElsewhere = state !== undefined && !isRunning && (!item || item.activeSide === 'recovery');
  if (!isElsewhere) return claimed(`they may hold the newest data of ${vm}`);
  return unclaimed(`${vm} runs at the recovery site, and no failback is running`);
}

/** The moment at which the engine deletes what recovery points no longer need. */
const withNextCycle = (item: ProtectedItem | undefined): string | undefined =>
  item && isReplicated(item) && item.phase === 'Protected' ? 'with the next cycle' : undefined;

export interface Leftover extends Held {
  readonly id: string;
  /** `store`, `recovery`, or the name of a host. */
  readonly where: string;
  readonly text: string;
  readonly reason: string;
  readonly cleansItself?: string;
}

export interface KeptThing extends Held {
  readonly id: string;
  readonly where: string;
  readonly text: string;
  readonly reason: string;
  /** Removes it. */
  readonly command?: string;
}

/** Sorted by id. @param claims by VM; a VM that is missing there has unknown claims. */
export function sortHeld(
  held: readonly Held[],
  claims: ReadonlyMap<string, VmClaims>,
): { leftovers: Leftover[]; kept: KeptThing[] } {
  const leftovers: Leftover[] = [];
  const kept: KeptThing[] = [];
  for (const thing of held) {
    const verdict = verdictOn(thing, claims.get(thing.vm) ?? { isStoreKnown: false });
    const common = { ...thing, id: leftoverId(thing), where: whereOf(thing), text: textOf(thing) };
    if (verdict.is === 'unclaimed') leftovers.push({ ...common, ...verdictOnly(verdict) });
    if (verdict.is === 'kept') kept.push({ ...common, ...verdictOnly(verdict) });
  }
  const byId = (a: Held, b: Held) => leftoverId(a).localeCompare(leftoverId(b));
  return { leftovers: leftovers.toSorted(byId), kept: kept.toSorted(byId) };
}

const verdictOnly = <V extends Verdict>({ is: _, ...rest }: V): Omit<V, 'is'> => rest;

/** `store/db-01/change-sets`: names the thing, and stays the same while it exists. */
export function leftoverId(held: Held): string {
  return `${whereOf(held)}/${held.vm}/${held.kind.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;
}

const whereOf = ({ kind, host }: Held): string => host ?? heldKinds[kind].where;

const textOf = ({ kind, name }: Held): string =>
  name === undefined ? heldKinds[kind].text : `${heldKinds[kind].text} ${name}`;

/** Prefixes of the records that a store keeps for a VM whose replica is gone. */
export const isReplicaRecord = (vm: string, name: string): boolean =>
  [vaultPaths.pointPrefix(vm), vaultPaths.cyclePrefix(vm), vaultPaths.applied(vm), vaultPaths.state(vm)].some(
    (prefix) => name.startsWith(prefix) || name.startsWith(vaultPaths.second(prefix)),
  );
