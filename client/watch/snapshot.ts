/** What `status --watch` shows: the vault at one instant, from what was last heard of it. */
import type { Condition, Health } from '../../domain/health.js';
import { viewOf, type ProtectedItemView } from '../../domain/item-view.js';
import { currentTask, expectedEnd, jobTitles, waitsForPerson, type Job } from '../../domain/job.js';
import type { Phase, ProtectedItem } from '../../domain/protected-item.js';
import { secondsBetween } from '../../domain/time.js';
import type { PlanRun } from '../../workflows/messages.js';
import { nextCommand } from '../commands/next-command.js';
import type { Overview } from '../overview.js';

export interface VmRow {
  readonly vm: string;
  readonly phase: Phase;
  readonly activeSide?: 'primary' | 'recovery';
  /** Undefined: it is not protected. */
  readonly health?: Health;
  readonly rpoSeconds?: number;
  /** The newest cycle that was sent. */
  readonly lastCycle?: { readonly sequence: number; readonly sealedAt: string; readonly bytes: number };
  /** ISO 8601; undefined while none are made. */
  readonly nextCycleAt?: string;
}

export interface JobRow {
  readonly id: string;
  readonly title: string;
  /** Undefined for a plan run. */
  readonly vm?: string;
  readonly task?: string;
  readonly progress?: { readonly bytesDone: number; readonly bytesTotal: number };
  /** On the average of the task under way. */
  readonly bytesPerSecond?: number;
  /** ISO 8601. */
  readonly expectedEnd?: string;
  /** What it stands still for. */
  readonly waitsFor?: 'person' | 'retry' | 'plan';
}

export interface Attention {
  readonly vm: string;
  readonly health: Exclude<Health, 'Normal'>;
  readonly message: string;
  readonly since?: string;
  readonly remedy?: string;
  /** What to type, when there is something to type. */
  readonly command?: string;
}

export interface Snapshot {
  /** ISO 8601. */
  readonly at: string;
  readonly vault: string;
  /** The worst there is. */
  readonly health: Health;
  readonly vms: readonly VmRow[];
  readonly jobs: readonly JobRow[];
  /** The worst first. */
  readonly attention: readonly Attention[];
  /** Why this is not as of `at`. */
  readonly stale?: { readonly message: string; readonly heardAt?: string };
}

export interface Heard {
  readonly vault: string;
  /** Of the site file, in its order. */
  readonly vms: readonly string[];
  readonly overview: Overview;
  /** VMs whose replica nobody keeps up to date. */
  readonly unattended: readonly string[];
}

/** @param at ISO 8601: ages count on from what was heard. */
export function snapshotOf({ vault, vms, overview, unattended }: Heard, at: string): Snapshot {
  const views = vms.map((vm) => ({ vm, view: protectedView(overview.items.get(vm), at) }));
  const attention = [
    ...unattended.map(unattendedReplica),
    ...views.flatMap(({ vm, view }) => (view ? attentionOf(vm, view) : [])),
  ].toSorted((a, b) => severity[a.health] - severity[b.health]);
  return {
    at,
    vault,
    health: attention[0]?.health ?? 'Normal',
    vms: views.map(({ vm, view }) => vmRow(vm, view)),
    jobs: [...overview.planRuns.map(planRow), ...overview.jobs.map((job) => jobRow(job, at))],
    attention,
  };
}

export const severity: Record<Health, number> = { Critical: 0, Warning: 1, Normal: 2 };

/** As `status` has it: protection that never came about is none. */
function protectedView(item: ProtectedItem | undefined, at: string): ProtectedItemView | undefined {
  return item && (item.phase !== 'Unprotected' || item.job) ? viewOf(item, at) : undefined;
}

function vmRow(vm: string, view: ProtectedItemView | undefined): VmRow {
  if (!view) return { vm, phase: 'Unprotected' };
  const { item, health, rpoSeconds } = view;
  const { phase, activeSide, shipped, cycleDueAt, paused, resync, job } = item;
  const nextCycleAt = item.retry ? item.retry.nextTryAt : cycleDueAt;
  const rests = paused !== undefined || resync !== undefined || job !== undefined || phase !== 'Protected';
  return {
    vm,
    phase,
    activeSide,
    health,
    ...(rpoSeconds !== undefined && { rpoSeconds }),
    ...(shipped && { lastCycle: shipped }),
    ...(nextCycleAt !== undefined && !rests && { nextCycleAt }),
  };
}

const attentionOf = (vm: string, view: ProtectedItemView): Attention[] =>
  view.conditions.map((condition, index) => {
    const { health, message, since, remedy } = condition;
    const command = index === 0 ? commandFor(vm, view, condition) : undefined;
    return {
      vm,
      health,
      message,
      ...(since !== undefined && { since }),
      ...(remedy !== undefined && { remedy }),
      ...(command !== undefined && { command }),
    };
  });

/** A remedy that is a command says it all. */
function commandFor(vm: string, view: ProtectedItemView, { remedy }: Condition): string | undefined {
  return remedy?.includes('farshore ') ? undefined : nextCommand(vm, view);
}

/** Temporal knows nothing of it: its database was lost. */
const unattendedReplica = (vm: string): Attention => ({
  vm,
  health: 'Critical',
  message: 'the vault holds a replica that nobody keeps up to date: Temporal knows nothing of the VM',
  remedy: 'farshore vault adopt',
});

function jobRow(job: Job, at: string): JobRow {
  const task = currentTask(job);
  const { progress, heldBefore } = job;
  const end = expectedEnd(job, at);
  const speed = task?.startedAt !== undefined && progress ? progress.bytesDone / secondsSince(task.startedAt, at) : 0;
  const waitsFor = waitsForPerson(job) ? 'person' : job.retry ? 'retry' : heldBefore === undefined ? undefined : 'plan';
  return {
    id: job.id,
    title: jobTitles[job.kind],
    vm: job.vm,
    ...(task && { task: task.name }),
    ...(progress && { progress: { bytesDone: progress.bytesDone, bytesTotal: progress.bytesTotal } }),
    ...(end !== undefined && { bytesPerSecond: Math.round(speed), expectedEnd: end }),
    ...(waitsFor && { waitsFor }),
  };
}

const secondsSince = (from: string, to: string): number => Math.max(1, secondsBetween(from, to));

const planRow = ({ id, plan, phase }: PlanRun): JobRow => ({ id, title: `Recovery plan ${plan.name}`, task: phase });
