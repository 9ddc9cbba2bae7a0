/**
 * The run of a recovery plan as a graph of steps. The graph is stored with the run and shown, and the run's workflow
 * executes it. The steps of one stage run in parallel; a stage begins when the stages before it are over. Pure.
 */
import { z } from 'zod';
import { nameSchema } from './ids.js';
import type { TaskName } from './jobs/known-jobs.js';
import type { RecoveryPlan } from './plan.js';
import { isoTimeSchema } from './time.js';

type FailoverTask = TaskName<'plannedFailover'>;

/**
 * Steps that are parts of a machine's job: from the task `from`, before which the machine waits, to the task `to`,
 * before which it waits next.
 */
const machineSteps = {
  check: { title: 'check', from: undefined, to: 'Shut down the virtual machine' },
  shutDown: { title: 'shut down', from: 'Shut down the virtual machine', to: 'Preparing for failover' },
  send: { title: 'send and fail over', from: 'Preparing for failover', to: 'Start the replica virtual machine' },
  start: { title: 'start', from: 'Start the replica virtual machine', to: undefined },
} as const satisfies Record<string, { title: string; from: FailoverTask | undefined; to: FailoverTask | undefined }>;

const machineStepKinds = Object.keys(machineSteps) as (keyof typeof machineSteps)[];
type MachineStepKind = keyof typeof machineSteps;

export const planStageSchema = z.object({
  id: nameSchema,
  /** What the run does in this stage, for display. */
  title: z.string(),
  /** Stages that must be over before this one begins. */
  after: z.array(nameSchema),
});
export type PlanStage = z.infer<typeof planStageSchema>;

const stepBase = {
  /** Unique within the run: `<stage>/<machine or name>`. */
  id: z.string().min(1),
  stage: nameSchema,
  /** `goOn`: later stages begin even if this step fails. */
  onError: z.enum(['stop', 'goOn']),
  state: z.enum(['Waiting', 'Running', 'Succeeded', 'Failed', 'Skipped', 'Cancelled']),
  attempts: z.int().min(0),
  startedAt: isoTimeSchema.optional(),
  endedAt: isoTimeSchema.optional(),
  /** Why it is in this state, for display. */
  reason: z.string().optional(),
  /** ID of the request that ended the step: a repetition of the request gets the same answer. */
  answeredTo: z.string().optional(),
};
const machineStepSchema = z.object({ ...stepBase, kind: z.enum(machineStepKinds), vm: nameSchema });
const manualActionSchema = z.object({ ...stepBase, kind: z.literal('manualAction'), instructions: z.string() });
const waitSchema = z.object({ ...stepBase, kind: z.literal('wait'), seconds: z.int().positive() });
export const planStepSchema = z.discriminatedUnion('kind', [machineStepSchema, manualActionSchema, waitSchema]);
export type PlanStep = z.infer<typeof planStepSchema>;
export type MachineStep = z.infer<typeof machineStepSchema>;

export interface PlanGraph {
  readonly stages: readonly PlanStage[];
  readonly steps: readonly PlanStep[];
}

export const isMachineStep = (step: PlanStep): step is MachineStep => step.kind in machineSteps;

/** The tasks before which a machine's job waits until the run lets it continue. */
export const heldTasks: readonly FailoverTask[] = machineStepKinds.flatMap((kind) => machineSteps[kind].from ?? []);

/** The task with which the run lets the machine continue. */
export const taskOfStep = ({ kind }: MachineStep): FailoverTask | undefined => machineSteps[kind].from;

/** Whether a machine that waits before the given task has completed the step. */
export function isThrough({ kind }: MachineStep, heldBefore: string | undefined): boolean {
  const { to } = machineSteps[kind];
  return to !== undefined && heldTasks.findIndex((task) => task === heldBefore) >= heldTasks.indexOf(to);
}

/**
 * The graph of a planned failover: every machine passes its prerequisites before anything is changed; the machines shut
 * down in reverse order of the groups; all send their last changes in parallel; the groups start in order.
 */
export function plannedGraph({ groups }: RecoveryPlan): PlanGraph {
  const all = groups.flatMap(({ vms }) => vms);
  const stages: PlanStage[] = [];
  const steps: PlanStep[] = [];
  const add = (id: string, title: string, kind: MachineStepKind, vms: readonly string[]) => {
    const before = stages.at(-1);
    stages.push({ id, title, after: before ? [before.id] : [] });
    steps.push(...vms.map((vm) => newStep({ id: `${id}/${vm}`, stage: id, kind, vm })));
  };
  add('check', 'checking prerequisites', 'check', all);
  for (const [index, { name, vms }] of [...groups.entries()].toReversed()) {
    add(`shut-down-${index + 1}`, `shutting down group ${name}`, 'shutDown', vms);
  }
  add('send', 'sending the last changes and failing over', 'send', all);
  for (const [index, { name, vms }] of groups.entries()) {
    add(`start-${index + 1}`, `starting group ${name}`, 'start', vms);
  }
  return { stages, steps };
}

type Distributed<T> = T extends unknown ? Omit<T, 'onError' | 'state' | 'attempts'> : never;

/** A step that has not begun. */
export const newStep = (of: Distributed<PlanStep>, onError: PlanStep['onError'] = 'stop'): PlanStep => ({
  ...of,
  onError,
  state: 'Waiting',
  attempts: 0,
});

/** Whether, as far as this step is concerned, later stages may begin. */
const isOver = ({ state, onError }: PlanStep): boolean =>
  state === 'Succeeded' || state === 'Skipped' || (state === 'Failed' && onError === 'goOn');

const stepsOf = ({ steps }: PlanGraph, stage: string): PlanStep[] => steps.filter((step) => step.stage === stage);

/** Steps that may begin now. */
export function readySteps(graph: PlanGraph): PlanStep[] {
  const over = new Set(graph.stages.map(({ id }) => id).filter((id) => stepsOf(graph, id).every(isOver)));
  const begun = new Set(graph.stages.filter(({ after }) => after.every((id) => over.has(id))).map(({ id }) => id));
  return graph.steps.filter((step) => step.state === 'Waiting' && begun.has(step.stage));
}

export const isThroughAll = ({ steps }: PlanGraph): boolean => steps.every(isOver);

/** A failed step that stops the run. */
export const stopper = ({ steps }: PlanGraph): PlanStep | undefined =>
  steps.find(({ state, onError }) => state === 'Failed' && onError === 'stop');

/** The first stage that is not over, which shows what the run is doing. */
export const stageUnderWay = (graph: PlanGraph): PlanStage | undefined =>
  graph.stages.find(({ id }) => !stepsOf(graph, id).every(isOver));

/** For display: `shut down`, or the instruction to the operator. */
export const titleOfStep = (step: PlanStep): string =>
  isMachineStep(step)
    ? machineSteps[step.kind].title
    : step.kind === 'wait'
      ? `wait for ${step.seconds} s`
      : step.instructions;

export interface StageProgress {
  readonly title: string;
  readonly state: 'Waiting' | 'Running' | 'Succeeded' | 'Failed' | 'Cancelled';
  readonly steps: number;
  /** Number of steps that are over. */
  readonly done: number;
  readonly startedAt?: string;
  /** Set once all steps are over. */
  readonly endedAt?: string;
}

/** The progress of each stage. */
export const stagesOf = (graph: PlanGraph): StageProgress[] =>
  graph.stages.map(({ id, title }) => {
    const steps = stepsOf(graph, id);
    const done = steps.filter(isOver).length;
    const has = (state: PlanStep['state']) => steps.some((step) => step.state === state);
    const times = (of: readonly (string | undefined)[]) => of.filter((time) => time !== undefined).toSorted();
    const startedAt = times(steps.map((step) => step.startedAt))[0];
    const endedAt = times(steps.map((step) => step.endedAt)).at(-1);
    const isAllOver = done === steps.length;
    const state = isAllOver
      ? 'Succeeded'
      : stopper({ stages: [], steps })
        ? 'Failed'
        : has('Cancelled')
          ? 'Cancelled'
          : startedAt === undefined
            ? 'Waiting'
            : 'Running';
    return {
      ...{ title, state, steps: steps.length, done },
      ...(startedAt !== undefined && { startedAt }),
      ...(isAllOver && endedAt !== undefined && { endedAt }),
    };
  });

/** An operator's requests about a step. */
export const stepRequests = ['approve', 'reject', 'retryStep', 'skipStep'] as const;
export type StepRequest = (typeof stepRequests)[number];

/** @returns why the step does not allow the request, and what to do instead; undefined if it allows it. */
export function refusalOfStep(step: PlanStep, request: StepRequest): string | undefined {
  const { id, state } = step;
  const over = `step ${id} has ${state === 'Waiting' ? 'not started yet' : 'already ended'} (${state})`;
  if (request === 'skipStep') {
    if (isMachineStep(step)) return `step ${id} is part of a failover; cancel the run to end it`;
    return state === 'Waiting' || state === 'Running' ? undefined : over;
  }
  if (state !== 'Running') return over;
  const isManual = step.kind === 'manualAction';
  if (request === 'retryStep') {
    return isMachineStep(step) ? undefined : `step ${id} cannot be retried; skip it, or cancel the run`;
  }
  return isManual ? undefined : `step ${id} needs no approval; only manual actions do`;
}
