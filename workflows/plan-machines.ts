/**
 * The machines of a plan run. Each fails over in its own job, which its protection entity starts. The job signals to
 * the run where it holds and how it ended; the run only releases it.
 *
 * Entities that were asked and jobs that hold may be gone, so the run checks on them from time to time. A job that was
 * closed from outside counts as failed.
 */
import { getExternalWorkflowHandle, isCancellation } from '@temporalio/workflow';
import { protectedItemId } from '../domain/ids.js';
import { heldTasks, isThrough, taskOfStep, type MachineStep } from '../domain/plan-graph.js';
import type { PlanMachine, PlanRun } from '../domain/plan-run.js';
import type { Handlers } from './handlers.js';
import * as messages from './messages.js';
import { cancelJob, isStillThere } from './running-job.js';

const OPEN = ['Asked', 'Running', 'Held'] as const satisfies PlanMachine['state'][];
const isOpen = ({ state }: PlanMachine): boolean => OPEN.some((open) => open === state);

const NOT_PROTECTED = 'the VM is not protected';
/** A job that holds before this task has already failed over; only the start of its replica VM is left. */
const LAST_HELD = heldTasks.at(-1)!;

export class PlanMachines {
  /** @param changed called when one of them has reported something. */
  constructor(
    private readonly run: PlanRun,
    { onSignal }: Handlers,
    private readonly changed: () => void,
  ) {
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

  /** An entity that is asked again gives the same answer. */
  async askForJobs(): Promise<void> {
    await Promise.all(
      this.run.machines
        .filter((machine) => machine.state === 'Asked')
        .map(async ({ vm, requestId }) => {
          const request = {
            requestId,
            kind: 'plannedFailover' as const,
            planRun: this.run.id,
            holdBefore: [...heldTasks],
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

  /** Releases the machine of a step that begins. After continue-as-new, it may hold further on than the step leads. */
  async letGoOn(step: MachineStep): Promise<void> {
    const task = taskOfStep(step);
    const machine = this.of(step);
    if (task === undefined || machine.state !== 'Held' || machine.heldBefore !== task) return;
    machine.state = 'Running';
    delete machine.heldBefore;
    await getExternalWorkflowHandle(machine.jobId!)
      .signal(messages.releaseTaskSignal, { task })
      .catch((error: unknown) => this.jobIsGone(machine, error));
  }

  /** The outcome of a step in progress; undefined while it has none. */
  outcomeOf(step: MachineStep): { state: 'Succeeded' } | { state: 'Failed'; reason: string } | undefined {
    const { state, heldBefore, reason } = this.of(step);
    if (state === 'Succeeded' || (state === 'Held' && isThrough(step, heldBefore))) return { state: 'Succeeded' };
    if (state === 'Failed' || state === 'Cancelled' || state === 'Refused')
      return { state: 'Failed', reason: reason ?? `its failover is ${state.toLowerCase()}` };
    return undefined;
  }

  /** Makes the job of a step's machine retry the step it waits for. */
  async retry(step: MachineStep): Promise<void> {
    const machine = this.of(step);
    if (machine.jobId === undefined) return;
    await getExternalWorkflowHandle(machine.jobId)
      .signal(messages.retryJobSignal)
      .catch((error: unknown) => this.jobIsGone(machine, error));
  }

  async askWhetherThere(): Promise<void> {
    for (const machine of this.run.machines.filter(isOpen)) {
      const { vm, jobId } = machine;
      if (await isStillThere(jobId ?? protectedItemId(this.run.vault, vm))) continue;
      if (jobId === undefined) this.update(vm, { state: 'Refused', reason: NOT_PROTECTED }, ['Asked']);
      else this.jobIsGone(machine, undefined);
    }
  }

  /**
   * Undoes every failover that can still be undone: its source starts again. VMs that have failed over stay so.
   * @param untilNews resolves when a machine has reported something, or when it is time to check.
   */
  async stop(reason: string, untilNews: (isNews: () => boolean) => Promise<void>): Promise<void> {
    const told = new Set<string>();
    const untold = () =>
      this.run.machines.filter(
        (machine) => isOpen(machine) && machine.jobId !== undefined && !told.has(situation(machine)),
      );
    while (this.run.machines.some(isOpen)) {
      await untilNews(() => untold().length > 0 || !this.run.machines.some(isOpen));
      for (const machine of untold()) {
        told.add(situation(machine));
        await this.end(machine, reason);
      }
    }
  }

  private async end(machine: PlanMachine, reason: string): Promise<void> {
    const job = getExternalWorkflowHandle(machine.jobId!);
    // A machine past its point of no return is released to run to its end instead.
    const news =
      machine.heldBefore === LAST_HELD
        ? job.signal(messages.releaseTaskSignal, { task: LAST_HELD })
        : cancelJob(job, { reason });
    await news.catch((error: unknown) => this.jobIsGone(machine, error));
  }

  private of({ vm }: MachineStep): PlanMachine {
    return this.run.machines.find((machine) => machine.vm === vm)!;
  }

  private jobIsGone({ vm }: PlanMachine, error: unknown): void {
    if (isCancellation(error)) throw error;
    this.update(vm, { state: 'Failed', reason: 'its job was closed from outside' }, OPEN);
  }

  private update(vm: string, news: Partial<PlanMachine>, onlyFrom?: readonly PlanMachine['state'][]): void {
    const machine = this.run.machines.find((candidate) => candidate.vm === vm);
    if (!machine || (onlyFrom && !onlyFrom.includes(machine.state))) return;
    if (news.state !== 'Held') delete machine.heldBefore;
    Object.assign(machine, news);
    this.changed();
  }
}

const situation = ({ vm, heldBefore }: PlanMachine): string => `${vm} ${heldBefore ?? ''}`;
