/**
 * A run of a recovery plan. Each machine fails over in a job of its own, started by its protection entity; the plan
 * only says when a job may go on: it holds all of them before "Shut down", "Preparing for failover" and "Start the
 * replica virtual machine".
 *
 * Order of a planned run: every machine passes its prerequisites before anything is touched; the machines shut down in
 * reverse order of the groups; all send their last changes in parallel; the groups start in order, group N+1 after
 * every machine of group N has started. An error before the first shutdown, or a cancelled job, stops the run and
 * cancels the jobs that can still be undone. A step that waits for an administrator's `retry` makes the plan wait.
 *
 * While it waits it asks now and then whether its jobs are still there, as they ask for it: one that was closed from outside
 * stops the run in order. Restart: what is done already is passed by, whatever it was waiting for.
 */
import {
  ApplicationFailure,
  CancellationScope,
  CancelledFailure,
  continueAsNew,
  getExternalWorkflowHandle,
  isCancellation,
  workflowInfo,
} from '@temporalio/workflow';
import { protectedItemId } from '../domain/ids.js';
import type { TaskName } from '../domain/jobs/known-jobs.js';
import { planMachines } from '../domain/plan.js';
import { secondsBetween } from '../domain/time.js';
import { now } from './clock.js';
import { handlersOf } from './handlers.js';
import * as messages from './messages.js';
import { inputOfNextRun, shouldContinueAsNew } from './history-limit.js';
import { publishPlanRun } from './publish.js';
import { startInput, unexpected } from './start-input.js';
import { cancelJob, isStillThere } from './running-job.js';
import { untilAnswered, untilOrAfter } from './wait.js';

const SHUT_DOWN: TaskName<'plannedFailover'> = 'Shut down the virtual machine';
const PREPARE: TaskName<'plannedFailover'> = 'Preparing for failover';
const START: TaskName<'plannedFailover'> = 'Start the replica virtual machine';

/** How often it asks, while nothing is heard of, ms. */
const ASK_JOBS_MS = 2 * 60_000;

/** The run can't go on; what it says is for people. */
class PlanStopped extends Error {}

export async function runRecoveryPlan(raw: messages.RunRecoveryPlanInput): Promise<messages.PlanRun> {
  return new Conductor(startInput(messages.runRecoveryPlanInputSchema, raw, raw?.carried)).conduct();
}

class Conductor {
  private readonly run: messages.PlanRun;

  constructor(private readonly input: messages.RunRecoveryPlanInput) {
    this.run = input.carried ?? messages.newPlanRun(workflowInfo().workflowId, input, 'starting', now());
    const { onSignal, onCall, onQuery } = handlersOf(input.tuning);
    onQuery(messages.planRunQuery, () => this.run);
    onCall(messages.stillThereSignal, () => undefined);
    onSignal(messages.jobAnsweredSignal, messages.jobAnswerSchema, ({ vm, jobId, refusal }) => {
      if (jobId !== undefined) this.update(vm, { jobId, state: 'Running' }, ['Asked']);
      else this.update(vm, { state: 'Refused', reason: refusal ?? 'refused' }, ['Asked']);
    });
    onSignal(messages.jobHeldSignal, messages.heldJobSchema, ({ vm, jobId, task }) =>
      this.update(vm, { state: 'Held', jobId, heldBefore: task }),
    );
    onSignal(messages.planJobEndedSignal, messages.planJobEndSchema, ({ vm, jobId, outcome, reason, result }) =>
      this.update(vm, {
        jobId,
        state: ({ succeeded: 'Succeeded', failed: 'Failed', cancelled: 'Cancelled' } as const)[outcome],
        ...(reason !== undefined && { reason }),
        ...(result && { result }),
      }),
    );
  }

  async conduct(): Promise<messages.PlanRun> {
    try {
      await this.askForJobs();
      await this.phase('checking prerequisites', () => this.reach(SHUT_DOWN, this.run.machines));
      for (const group of this.run.plan.groups.toReversed()) {
        await this.phase(`shutting down group ${group.name}`, () => this.pass(SHUT_DOWN, PREPARE, group.vms));
      }
      await this.phase('sending the last changes and failing over', () =>
        this.pass(PREPARE, START, planMachines(this.run.plan)),
      );
      for (const group of this.run.plan.groups) {
        await this.phase(`starting group ${group.name}`, () => this.pass(START, undefined, group.vms));
      }
      this.end('Succeeded', 'done');
      this.run.rtoSeconds = secondsBetween(this.run.startedAt, this.run.endedAt ?? now());
    } catch (error) {
      const cancelled = isCancellation(error);
      if (!cancelled && !(error instanceof PlanStopped)) throw unexpected(error);
      await CancellationScope.nonCancellable(() =>
        this.stop(cancelled ? 'the run was cancelled' : (error as Error).message),
      );
      this.end(cancelled ? 'Cancelled' : 'Failed', 'stopped');
    }
    publishPlanRun(this.run);
    await untilAnswered();
    if (this.run.state === 'Cancelled') throw new CancelledFailure('The run was cancelled');
    if (this.run.state === 'Failed') throw ApplicationFailure.nonRetryable(this.run.failure, 'PlanStopped', this.run);
    return this.run;
  }

  private async askForJobs(): Promise<void> {
    await Promise.all(
      this.run.machines
        .filter((machine) => machine.state === 'Asked')
        .map(async ({ vm, requestId }) => {
          const request = {
            requestId,
            kind: 'plannedFailover' as const,
            planRun: this.run.id,
            holdBefore: [SHUT_DOWN, PREPARE, START],
          };
          await getExternalWorkflowHandle(protectedItemId(this.run.vault, vm))
            .signal(messages.requestJobSignal, request)
            .catch((error: unknown) => {
              if (isCancellation(error)) throw error;
              this.update(vm, { state: 'Refused', reason: NOT_PROTECTED });
            });
        }),
    );
  }

  private async continueIfLong(): Promise<void> {
    if (!shouldContinueAsNew()) return;
    await untilAnswered();
    await continueAsNew<typeof runRecoveryPlan>({ ...inputOfNextRun(this.input), carried: this.run });
  }

  private async phase(name: string, work: () => Promise<void>): Promise<void> {
    await this.continueIfLong();
    this.run.phase = name;
    publishPlanRun(this.run);
    await work();
  }

  /** Releases the machines that hold before one task, and waits until they hold before the next, or are done. */
  private async pass(before: string, then: string | undefined, vms: readonly string[]): Promise<void> {
    const machines = this.run.machines.filter((machine) => vms.includes(machine.vm));
    for (const machine of machines) {
      if (machine.state !== 'Held' || machine.heldBefore !== before || machine.jobId === undefined) continue;
      machine.state = 'Running';
      delete machine.heldBefore;
      await getExternalWorkflowHandle(machine.jobId)
        .signal(messages.releaseTaskSignal, { task: before })
        .catch((error: unknown) => this.jobIsGone(machine, error));
      if (!isOpen(machine)) break;
    }
    await this.reach(then, machines);
  }

  private async reach(task: string | undefined, machines: readonly messages.PlanMachine[]): Promise<void> {
    const there = (machine: messages.PlanMachine) =>
      machine.state === 'Succeeded' || (machine.state === 'Held' && this.isAtOrPast(machine.heldBefore, task));
    const broken = () =>
      machines.find(({ state }) => state === 'Failed' || state === 'Cancelled' || state === 'Refused');
    const isReached = () => broken() !== undefined || machines.every(there);
    while (!(await untilOrAfter(isReached, ASK_JOBS_MS, 'Are its jobs still there?'))) {
      await this.continueIfLong();
      // Whoever was asked may have gone before it answered: asked again, an entity answers the same.
      await this.askForJobs();
      await this.askWhetherThere();
    }
    const stopper = broken();
    if (stopper)
      throw new PlanStopped(`${stopper.vm}: ${stopper.reason ?? `its failover is ${stopper.state.toLowerCase()}`}`);
  }

  private async askWhetherThere(): Promise<void> {
    for (const machine of this.run.machines.filter(isOpen)) {
      const { vm, jobId } = machine;
      if (await isStillThere(jobId ?? protectedItemId(this.run.vault, vm))) continue;
      if (jobId === undefined) this.update(vm, { state: 'Refused', reason: NOT_PROTECTED }, ['Asked']);
      else this.jobIsGone(machine, undefined);
    }
  }

  private jobIsGone({ vm }: messages.PlanMachine, error: unknown): void {
    if (isCancellation(error)) throw error;
    this.update(vm, { state: 'Failed', reason: 'its job was closed from outside' }, OPEN);
  }

  /** After continue-as-new a machine may hold further on than the phase that is gone through again. */
  private isAtOrPast(heldBefore: string | undefined, task: string | undefined): boolean {
    const order: (string | undefined)[] = [SHUT_DOWN, PREPARE, START, undefined];
    return heldBefore !== undefined && order.indexOf(heldBefore) >= order.indexOf(task);
  }

  /** What can still be undone is undone: the sources start again. What has failed over stays so. */
  private async stop(reason: string): Promise<void> {
    this.run.failure = reason;
    this.run.phase = 'stopping';
    publishPlanRun(this.run);
    const told = new Set<string>();
    const untold = () =>
      this.run.machines.filter(
        (machine) => isOpen(machine) && machine.jobId !== undefined && !told.has(situation(machine)),
      );
    while (this.run.machines.some(isOpen)) {
      const isNext = () => untold().length > 0 || !this.run.machines.some(isOpen);
      if (!(await untilOrAfter(isNext, ASK_JOBS_MS, 'Are its jobs still there?'))) await this.askWhetherThere();
      for (const machine of untold()) {
        told.add(situation(machine));
        await this.letGo(machine, reason);
      }
    }
  }

  private async letGo(machine: messages.PlanMachine, reason: string): Promise<void> {
    const job = getExternalWorkflowHandle(machine.jobId!);
    // A machine past its point of no return is let go on to its end instead.
    const news =
      machine.heldBefore === START
        ? job.signal(messages.releaseTaskSignal, { task: START })
        : cancelJob(job, { reason });
    await news.catch((error: unknown) => this.jobIsGone(machine, error));
  }

  private update(
    vm: string,
    news: Partial<messages.PlanMachine>,
    onlyFrom?: readonly messages.PlanMachine['state'][],
  ): void {
    const machine = this.run.machines.find((candidate) => candidate.vm === vm);
    if (!machine || (onlyFrom && !onlyFrom.includes(machine.state))) return;
    if (news.state !== 'Held') delete machine.heldBefore;
    Object.assign(machine, news);
    publishPlanRun(this.run);
  }

  private end(state: messages.PlanRun['state'], phase: string): void {
    this.run.state = state;
    this.run.phase = phase;
    this.run.endedAt = now();
  }
}

const OPEN = ['Asked', 'Running', 'Held'] as const satisfies messages.PlanMachine['state'][];
const isOpen = ({ state }: messages.PlanMachine): boolean => OPEN.some((open) => open === state);

const NOT_PROTECTED = 'the VM is not protected';

const situation = ({ vm, heldBefore }: messages.PlanMachine): string => `${vm} ${heldBefore ?? ''}`;
