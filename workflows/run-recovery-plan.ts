/**
 * A run of a recovery plan. Each machine fails over in a job of its own, started by its protection entity; the plan
 * only says when a job may go on: it holds all of them before "Shut down", "Preparing for failover" and "Start the
 * replica virtual machine".
 *
 * Order of a planned run: every machine passes its prerequisites before anything is touched; the machines shut down in
 * reverse order of the groups; all send their last changes in parallel; the groups start in order, group N+1 after
 * every machine of group N has started. An error before the first shutdown, or a cancelled job, stops the run and
 * cancels the jobs that can still be undone. A step that waits for an administrator's `retry` makes the plan wait.
 */
import {
  ApplicationFailure,
  CancellationScope,
  CancelledFailure,
  allHandlersFinished,
  condition,
  continueAsNew,
  getExternalWorkflowHandle,
  isCancellation,
  setHandler,
  workflowInfo,
} from '@temporalio/workflow';
import { protectedItemId } from '../domain/ids.js';
import type { TaskName } from '../domain/job.js';
import { planMachines } from '../domain/plan.js';
import { secondsBetween, toIso } from '../domain/time.js';
import * as messages from './messages.js';
import { shouldContinueAsNew } from './history-limit.js';
import { publishPlanRun } from './publish.js';

const SHUT_DOWN: TaskName<'plannedFailover'> = 'Shut down the virtual machine';
const PREPARE: TaskName<'plannedFailover'> = 'Preparing for failover';
const START: TaskName<'plannedFailover'> = 'Start the replica virtual machine';

const now = () => toIso(Date.now());

/** The run can't go on; what it says is for people. */
class PlanStopped extends Error {}

export async function runRecoveryPlan(raw: messages.RunRecoveryPlanInput): Promise<messages.PlanRun> {
  const parsed = messages.runRecoveryPlanInputSchema.safeParse(raw);
  if (!parsed.success) {
    throw ApplicationFailure.nonRetryable(
      `the input of runRecoveryPlan is not valid: ${parsed.error.message}`,
      'InvalidInput',
    );
  }
  return new Conductor(parsed.data).conduct();
}

class Conductor {
  private readonly run: messages.PlanRun;

  constructor(private readonly input: messages.RunRecoveryPlanInput) {
    this.run = input.carried ?? messages.newPlanRun(workflowInfo().workflowId, input, 'starting', now());
    setHandler(messages.planRunQuery, () => this.run);
    setHandler(messages.jobAnsweredSignal, ({ vm, jobId, refusal }) => {
      if (jobId !== undefined) this.update(vm, { jobId, state: 'Running' }, ['Asked']);
      else this.update(vm, { state: 'Refused', reason: refusal ?? 'refused' }, ['Asked']);
    });
    setHandler(messages.jobHeldSignal, ({ vm, jobId, task }) =>
      this.update(vm, { state: 'Held', jobId, heldBefore: task }),
    );
    setHandler(messages.planJobEndedSignal, ({ vm, jobId, outcome, reason, result }) =>
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
      if (!cancelled && !(error instanceof PlanStopped)) throw error;
      await CancellationScope.nonCancellable(() =>
        this.stop(cancelled ? 'the run was cancelled' : (error as Error).message),
      );
      this.end(cancelled ? 'Cancelled' : 'Failed', 'stopped');
    }
    publishPlanRun(this.run);
    await condition(allHandlersFinished);
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
              this.update(vm, { state: 'Refused', reason: 'the VM is not protected' });
            });
        }),
    );
  }

  private async phase(name: string, work: () => Promise<void>): Promise<void> {
    if (shouldContinueAsNew(this.input.tuning)) {
      await condition(allHandlersFinished);
      await continueAsNew<typeof runRecoveryPlan>({ ...this.input, carried: this.run });
    }
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
      await getExternalWorkflowHandle(machine.jobId).signal(messages.releaseTaskSignal, { task: before });
    }
    await this.reach(then, machines);
  }

  private async reach(task: string | undefined, machines: readonly messages.PlanMachine[]): Promise<void> {
    const there = (machine: messages.PlanMachine) =>
      machine.state === 'Succeeded' || (machine.state === 'Held' && this.isAtOrPast(machine.heldBefore, task));
    const broken = () =>
      machines.find(({ state }) => state === 'Failed' || state === 'Cancelled' || state === 'Refused');
    await condition(() => broken() !== undefined || machines.every(there));
    const stopper = broken();
    if (stopper)
      throw new PlanStopped(`${stopper.vm}: ${stopper.reason ?? `its failover is ${stopper.state.toLowerCase()}`}`);
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
    const isOpen = ({ state }: messages.PlanMachine) => state === 'Asked' || state === 'Running' || state === 'Held';
    const told = new Set<string>();
    const untold = () =>
      this.run.machines.filter(
        (machine) => isOpen(machine) && machine.jobId !== undefined && !told.has(situation(machine)),
      );
    while (this.run.machines.some(isOpen)) {
      await condition(() => untold().length > 0 || !this.run.machines.some(isOpen));
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
        : job.signal(messages.cancelJobSignal, { reason });
    await news.catch(() => this.update(machine.vm, { state: 'Failed', reason: 'its job is gone' }));
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

const situation = ({ vm, heldBefore }: messages.PlanMachine): string => `${vm} ${heldBefore ?? ''}`;
