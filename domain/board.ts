/**
 * The board of a vault: everything shown of it at one instant, in the terminal and in the Web UI. Pure: derived from
 * what was last heard, and the time. A host's trouble is shown once, with advice for all of its VMs, and every command
 * in it works now.
 */
import {
  attentionOf,
  runningSource,
  silentHost,
  waitingDrill,
  stoppedReplica,
  unattendedReplica,
  unnamed,
  type Attention,
  type Viewed,
} from './attention.js';
import type { Drill } from './drill.js';
import type { Health } from './health.js';
import type { HeldReplica } from './held-replica.js';
import { hostSilence, silenceOf, type HostSilence } from './host-silence.js';
import { viewOf, type ProtectedItemView } from './item-view.js';
import { currentTask, expectedEnd, waitsForPerson, type Job } from './job.js';
import { titleOf } from './jobs/known-jobs.js';
import { isProtected, type Phase, type ProtectedItem } from './protected-item.js';
import { silentProvider, type SilentProvider } from './silent-provider.js';
import { secondsBetween } from './time.js';

export interface VmRow {
  readonly vm: string;
  /** Undefined while the VM is not protected. */
  readonly host?: string;
  readonly phase: Phase;
  readonly activeSide?: 'primary' | 'recovery';
  /** It ran when its host was last heard; its state since then is unknown. */
  readonly unseen?: true;
  /** It should run at the recovery site, but its replica VM is off or missing. */
  readonly stopped?: true;
  /** Undefined if it is not protected. */
  readonly health?: Health;
  readonly rpoSeconds?: number;
  /** The newest cycle that was sent. */
  readonly lastCycle?: { readonly sequence: number; readonly sealedAt: string; readonly bytes: number };
  /** ISO 8601; undefined while no cycles are made. */
  readonly nextCycleAt?: string;
  /** The test failover that exists, and when it is cleaned up automatically. */
  readonly testFailover?: { readonly testVm: string; readonly cleanUpAt?: string };
}

/** A host with protected VMs. */
export interface HostRow {
  readonly host: string;
  readonly vms: readonly string[];
  /** The worst health of its VMs. */
  readonly health: Health;
  /** Set while the host does not answer. */
  readonly silence?: HostSilence;
}

export interface JobRow {
  readonly id: string;
  readonly title: string;
  /** Undefined for a plan run. */
  readonly vm?: string;
  readonly task?: string;
  readonly progress?: { readonly bytesDone: number; readonly bytesTotal: number };
  /** Average of the current task. */
  readonly bytesPerSecond?: number;
  /** ISO 8601. */
  readonly expectedEnd?: string;
  /** Why it makes no progress. */
  readonly waitsFor?: 'person' | 'retry' | 'plan';
}

export interface Board {
  /** ISO 8601. */
  readonly at: string;
  readonly vault: string;
  /** The worst health of all VMs. */
  readonly health: Health;
  readonly vms: readonly VmRow[];
  readonly hosts: readonly HostRow[];
  readonly jobs: readonly JobRow[];
  /** Worst first. */
  readonly attention: readonly Attention[];
}

/** A plan run on a board. */
export interface BoardPlanRun {
  readonly id: string;
  readonly plan: { readonly name: string };
  readonly phase: string;
}

export interface Heard {
  readonly vault: string;
  /** Names of the VMs of the site file, in its order; undefined if the file was not read. */
  readonly siteVms?: readonly string[];
  /** Keyed by VM name: all protected VMs, whether or not the site file names them. */
  readonly items: ReadonlyMap<string, ProtectedItem>;
  readonly jobs: readonly Job[];
  readonly planRuns: readonly BoardPlanRun[];
  /** Replicas in the vault of VMs that are not among the items; absent if the vault was not read. */
  readonly held?: readonly HeldReplica[] | undefined;
  /** The existing replica VMs; undefined if the recovery compute can't be asked. */
  readonly replicaVms?: ReadonlyMap<string, 'Running' | 'Off'> | undefined;
  /** Sources of VMs that run at the recovery site or whose hosts are silent, if their hypervisors can be asked. */
  readonly sourceVms?: ReadonlyMap<string, 'Running' | 'Off'>;
  /** Absent if the pollers of task queues are unknown. */
  readonly silentProviders?: readonly SilentProvider[];
}

export const severity: Record<Health, number> = { Critical: 0, Warning: 1, Normal: 2 };

/** @param at ISO 8601; ages are counted up to it from the times that were heard. */
export function boardOf(heard: Heard, at: string): Board {
  const {
    vault,
    siteVms,
    items,
    jobs,
    planRuns,
    held = [],
    replicaVms,
    sourceVms = new Map(),
    silentProviders = [],
  } = heard;
  const unheld = held.filter(({ vm }) => !viewAmong(items, vm, at));
  const views = namesOf(siteVms ?? [], items, unheld).map((vm): Viewed => ({
    vm,
    view: viewAmong(items, vm, at),
  }));
  const { hosts, stopped, astray, attention } = attentionAmong(
    { views, unheld, siteVms, replicaVms, sourceVms, silentProviders },
    at,
  );
  return {
    at,
    vault,
    health: worst([...attention.map(({ health }) => health), ...hosts.map(({ health }) => health)]),
    vms: views.map(({ vm, view }) => ({
      ...vmRow(vm, view, stateOf(vm, unheld)),
      ...(view && astray.some(({ vms }) => vms.includes(vm)) && { health: 'Critical' as const }),
      ...(stopped.some(({ vms }) => vms.includes(vm)) && { stopped: true as const }),
      ...(view && hostSilence(view.item) && !sourceVms.has(vm) && { unseen: true as const }),
    })),
    hosts,
    jobs: [...planRuns.map(planRow), ...jobs.map((job) => jobRow(job, at))],
    attention,
  };
}

/** What is known of the VMs of a vault. */
interface Known extends Pick<Heard, 'replicaVms' | 'silentProviders'> {
  readonly siteVms: readonly string[] | undefined;
  readonly views: readonly Viewed[];
  /** Replicas in the vault of VMs that are not protected. */
  readonly unheld: readonly HeldReplica[];
  readonly sourceVms: ReadonlyMap<string, 'Running' | 'Off'>;
}

interface VaultAttention {
  readonly hosts: HostRow[];
  /** Worst first. */
  readonly attention: Attention[];
  /** VMs that do not run where they should, or that also run elsewhere; each is in `attention` too. */
  readonly astray: Attention[];
  readonly stopped: Attention[];
}

/** @param at ISO 8601. @param ofVm gives the entries of one VM on its own. */
export function attentionAmong(
  { views, unheld, siteVms, replicaVms, sourceVms, silentProviders = [] }: Known,
  at: string,
  ofVm: typeof attentionOf = attentionOf,
): VaultAttention {
  const hosts = hostRows(views);
  const stopped = replicaVms ? views.flatMap((each) => stoppedReplica(each, stateOf(each.vm, unheld), replicaVms)) : [];
  const astray = [...stopped, ...views.flatMap((each) => runningSource(each, stateOf(each.vm, unheld), sourceVms))];
  const attention = [
    ...unheld
      .filter(({ asProtected }) => asProtected)
      .map(({ vm }) => unattendedReplica(vm, siteVms?.includes(vm) !== false)),
    ...astray,
    ...hosts.flatMap(({ silence }) => (silence ? [silentHost(silence, views, at, sourceVms)] : [])),
    ...silentProviders.map((provider) => silentProvider(provider, views)),
    ...views.flatMap(({ vm, view }) => (view ? ofVm(vm, view, at) : [])),
    ...views.flatMap(({ vm, view }) => (view ? waitingDrill(vm, view) : [])),
    ...views.flatMap(({ vm, view }) => (view && siteVms?.includes(vm) === false ? [unnamed(vm, view)] : [])),
  ].toSorted((a, b) => severity[a.health] - severity[b.health]);
  return { hosts, attention, astray, stopped };
}

/** The VMs of the site file, then VMs that it no longer names but that are protected or run at the recovery site. */
export function namesOf(
  siteVms: readonly string[],
  items: ReadonlyMap<string, ProtectedItem>,
  held: readonly HeldReplica[] = [],
): string[] {
  const others = [
    ...[...items.values()].filter(isProtected).map(({ vm }) => vm),
    ...held.filter(({ asProtected, state }) => asProtected || state).map(({ vm }) => vm),
  ];
  return [...new Set([...siteVms, ...others.toSorted((a, b) => a.localeCompare(b))])];
}

const stateOf = (vm: string, held: readonly HeldReplica[]): HeldReplica['state'] =>
  held.find((each) => each.vm === vm)?.state;

/**
 * A VM in the light of what all VMs of its host know: a host has one silence, which affects them all alike.
 * @param at ISO 8601.
 */
export function viewAmong(
  items: ReadonlyMap<string, ProtectedItem>,
  vm: string,
  at: string,
): ProtectedItemView | undefined {
  const item = items.get(vm);
  return item && isProtected(item) ? viewOf(item, at, silenceOf(item.host, [...items.values()])) : undefined;
}

/** Text for a table column. */
export function runsAtText({ activeSide, unseen, stopped, testFailover }: VmRow): string {
  if (activeSide === undefined) return '-';
  const place = stopped ? `${activeSide}, off` : unseen ? `${activeSide}, unseen` : activeSide;
  return testFailover ? `${place}, test VM` : place;
}

export const worst = (healths: readonly Health[]): Health =>
  healths.includes('Critical') ? 'Critical' : healths.includes('Warning') ? 'Warning' : 'Normal';

function vmRow(vm: string, view: ProtectedItemView | undefined, held: HeldReplica['state']): VmRow {
  if (!view) return { vm, phase: 'Unprotected', ...(held && { activeSide: 'recovery' }) };
  const { item, health, rpoSeconds } = view;
  const { host, phase, activeSide, shipped, cycleDueAt, paused, resync, job } = item;
  const nextCycleAt = item.retry ? item.retry.nextTryAt : cycleDueAt;
  const rests = paused !== undefined || resync !== undefined || job !== undefined || phase !== 'Protected';
  return {
    vm,
    host,
    phase,
    activeSide,
    health,
    ...(rpoSeconds !== undefined && { rpoSeconds }),
    ...(shipped && { lastCycle: shipped }),
    ...(nextCycleAt !== undefined && !rests && { nextCycleAt }),
    ...(item.drill && { testFailover: testFailoverOf(item.drill) }),
  };
}

const testFailoverOf = ({ testVm, cleanUpAt }: Drill): NonNullable<VmRow['testFailover']> => ({
  testVm,
  ...(cleanUpAt !== undefined && { cleanUpAt }),
});

function hostRows(views: readonly Viewed[]): HostRow[] {
  const known = views.flatMap(({ view }) => (view ? [view] : []));
  return [...new Set(known.map(({ item }) => item.host))].map((host) => {
    const found = known.filter(({ item }) => item.host === host);
    const silence = silenceOf(
      host,
      found.map(({ item }) => item),
    );
    return {
      host,
      vms: found.map(({ item }) => item.vm),
      health: worst(found.map(({ health }) => health)),
      ...(silence && { silence }),
    };
  });
}

function jobRow(job: Job, at: string): JobRow {
  const task = currentTask(job);
  const { progress, heldBefore } = job;
  const end = expectedEnd(job, at);
  const speed = task?.startedAt !== undefined && progress ? progress.bytesDone / secondsSince(task.startedAt, at) : 0;
  const waitsFor = waitsForPerson(job) ? 'person' : job.retry ? 'retry' : heldBefore === undefined ? undefined : 'plan';
  return {
    id: job.id,
    title: titleOf(job.kind),
    vm: job.vm,
    ...(task && { task: task.name }),
    ...(progress && { progress: { bytesDone: progress.bytesDone, bytesTotal: progress.bytesTotal } }),
    ...(end !== undefined && { bytesPerSecond: Math.round(speed), expectedEnd: end }),
    ...(waitsFor && { waitsFor }),
  };
}

const secondsSince = (from: string, to: string): number => Math.max(1, secondsBetween(from, to));

const planRow = ({ id, plan, phase }: BoardPlanRun): JobRow => ({
  id,
  title: `Recovery plan ${plan.name}`,
  task: phase,
});
