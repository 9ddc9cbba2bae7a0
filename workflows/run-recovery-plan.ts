/**
 * A run of a recovery plan: follows the graph of its steps (`domain/plan-graph.ts`), which is stored with the run. A
 * step begins when its stage's turn comes; its result is noted in it. Everything else follows from these notes, also in
 * the run that continues this one.
 *
 * An error, a rejection or a cancellation stops the run: failovers that can still be undone are undone, and VMs that
 * have failed over stay so. The run waits while a machine waits for an operator's `retry`.
 */
import {
  ApplicationFailure,
  CancellationScope,
  CancelledFailure,
  continueAsNew,
  isCancellation,
  workflowInfo,
} from '@temporalio/workflow';
import {
  isMachineStep,
  isThroughAll,
  readySteps,
  refusalOfStep,
  stageUnderWay,
  stopper,
  titleOfStep,
  type PlanStep,
  type StepRequest,
} from '../domain/plan-graph.js';
import { newPlanRun, type PlanRun } from '../domain/plan-run.js';
import { secondsBetween, toMs } from '../domain/time.js';
import { now, nowMs } from './clock.js';
import { handlersOf } from './handlers.js';
import * as messages from './messages.js';
import { inputOfNextRun, shouldContinueAsNew } from './history-limit.js';
import { PlanMachines } from './plan-machines.js';
import { publishPlanRun } from './publish.js';
import { parsedInput } from './refusal.js';
import { startInput, unexpected } from './start-input.js';
import { untilAnswered, untilOrAfter } from './wait.js';

/** How often the run asks when it hears nothing, ms. */
const ASK_JOBS_MS = 2 * 60_000;

/** The run cannot continue; the message is for people. */
class PlanStopped extends Error {}

export async function runRecoveryPlan(raw: messages.RunRecoveryPlanInput): Promise<PlanRun> {
  return new Conductor(startInput(messages.runRecoveryPlanInputSchema, raw, raw?.carried)).conduct();
}

class Conductor {
  private readonly run: PlanRun;
  private readonly machines: PlanMachines;
  /** Set when something was reported or requested that has not been looked at yet. */
  private hasNews = false;
  private aborted: string | undefined;

  constructor(private readonly input: messages.RunRecoveryPlanInput) {
    this.run = input.carried ?? newPlanRun(workflowInfo().workflowId, input, 'starting', now());
    const handlers = handlersOf(input.tuning);
    handlers.onQuery(messages.planRunQuery, () => this.run);
    handlers.onCall(messages.stillThereSignal, () => undefined);
    this.machines = new PlanMachines(this.run, handlers, () => this.changed());
    const onStep = (request: StepRequest, handle: (step: PlanStep, reason?: string) => void | Promise<void>) =>
      handlers.onUpdate(
        messages.planStepUpdates[request],
        async (asked) => {
          const step = this.step(asked.step);
          if (step.answeredTo !== asked.requestId) await handle(step, asked.reason);
          step.answeredTo = asked.requestId;
          this.changed();
          return step;
        },
        (asked) => this.refuseStep(request, asked),
      );
    onStep('approve', (step, reason) => this.settle(step, 'Succeeded', reason));
    onStep('reject', (step, reason) =>
      this.settle(step, 'Failed', `rejected${reason === undefined ? '' : `: ${reason}`}`),
    );
    onStep('skipStep', (step, reason) => this.settle(step, 'Skipped', reason));
    onStep('retryStep', async (step) => {
      step.attempts += 1;
      if (isMachineStep(step)) await this.machines.retry(step);
    });
    handlers.onUpdate(
      messages.abortRunUpdate,
      ({ reason }) => {
        this.aborted ??= reason ?? 'the run was aborted';
        this.changed();
        return { aborted: this.aborted };
      },
      (request) => this.refuseAbort(request),
    );
  }

  async conduct(): Promise<PlanRun> {
    try {
      await this.machines.askForJobs();
      for (const step of this.run.steps) if (step.state === 'Running') this.watch(step);
      while (!isThroughAll(this.run)) {
        await this.continueIfLong();
        this.hasNews = false;
        this.look();
        const ready = readySteps(this.run);
        if (ready.length > 0) await this.begin(ready);
        else if (!isThroughAll(this.run)) await this.untilNews(() => this.hasNews);
      }
      this.end('Succeeded', 'done');
      this.run.rtoSeconds = secondsBetween(this.run.startedAt, this.run.endedAt ?? now());
    } catch (error) {
      const cancelled = isCancellation(error);
      if (!cancelled && !(error instanceof PlanStopped)) throw unexpected(error);
      await CancellationScope.nonCancellable(() =>
        this.stop(cancelled ? 'the run was cancelled' : (error as Error).message),
      );
      this.end(cancelled || this.aborted !== undefined ? 'Cancelled' : 'Failed', 'stopped');
    }
    publishPlanRun(this.run);
    await untilAnswered();
    if (CancellationScope.current().consideredCancelled) throw new CancelledFailure('The run was cancelled');
    if (this.run.state !== 'Succeeded')
      throw ApplicationFailure.nonRetryable(this.run.failure, 'PlanStopped', this.run);
    return this.run;
  }

  /** Notes the outcome of the steps in progress. @throws PlanStopped */
  private look(): void {
    if (this.aborted !== undefined) throw new PlanStopped(this.aborted);
    for (const step of this.run.steps) {
      if (step.state !== 'Running' || !isMachineStep(step)) continue;
      const outcome = this.machines.outcomeOf(step);
      if (outcome) this.settle(step, outcome.state, outcome.state === 'Failed' ? outcome.reason : undefined);
    }
    const stopping = stopper(this.run);
    if (!stopping) return;
    const of = isMachineStep(stopping) ? stopping.vm : `"${titleOfStep(stopping)}"`;
    throw new PlanStopped(`${of}: ${stopping.reason ?? 'it failed'}`);
  }

  private async begin(steps: readonly PlanStep[]): Promise<void> {
    for (const step of steps) Object.assign(step, { state: 'Running', attempts: 1, startedAt: now() });
    this.run.phase = stageUnderWay(this.run)?.title ?? this.run.phase;
    publishPlanRun(this.run);
    for (const step of steps) {
      if (!isMachineStep(step)) this.watch(step);
      else if (!this.machines.outcomeOf(step)) await this.machines.letGoOn(step);
      // A machine whose job is gone stops the run: the others are not released.
      if (isMachineStep(step) && this.machines.outcomeOf(step)?.state === 'Failed') return;
    }
  }

  /** Watches a step that ends after a fixed time; other kinds need no watching. */
  private watch(step: PlanStep): void {
    if (step.kind !== 'wait') return;
    const left = toMs(step.startedAt ?? now()) + step.seconds * 1000 - nowMs();
    const isSettled = () => step.state !== 'Running';
    void untilOrAfter(isSettled, left, titleOfStep(step)).then(
      (settled) => {
        if (!settled) this.settle(step, 'Succeeded');
      },
      // The run was cancelled.
      () => undefined,
    );
  }

  private settle(step: PlanStep, state: 'Succeeded' | 'Failed' | 'Skipped', reason?: string): void {
    Object.assign(step, { state, endedAt: now(), ...(reason !== undefined && { reason }) });
    this.changed();
  }

  private async untilNews(isNews: () => boolean): Promise<void> {
    if (await untilOrAfter(isNews, ASK_JOBS_MS, 'Check whether its jobs still exist')) return;
    await this.continueIfLong();
    // The asked entity may have gone before it answered.
    await this.machines.askForJobs();
    await this.machines.askWhetherThere();
  }

  private async stop(reason: string): Promise<void> {
    this.run.failure = reason;
    this.run.phase = 'stopping';
    publishPlanRun(this.run);
    await this.machines.stop(reason, async (isNews) => {
      if (!(await untilOrAfter(isNews, ASK_JOBS_MS, 'Check whether its jobs still exist')))
        await this.machines.askWhetherThere();
    });
    for (const step of this.run.steps) {
      if (step.state !== 'Waiting' && step.state !== 'Running') continue;
      // A machine that could no longer be undone has completed its failover.
      const isDone = isMachineStep(step) && this.machines.outcomeOf(step)?.state === 'Succeeded';
      Object.assign(step, {
        state: isDone ? 'Succeeded' : 'Cancelled',
        ...(step.startedAt !== undefined && { endedAt: now() }),
      });
    }
  }

  private async continueIfLong(): Promise<void> {
    if (!shouldContinueAsNew()) return;
    await untilAnswered();
    await continueAsNew<typeof runRecoveryPlan>({ ...inputOfNextRun(this.input), carried: this.run });
  }

  private changed(): void {
    this.hasNews = true;
    publishPlanRun(this.run);
  }

  private step(id: string): PlanStep {
    return this.run.steps.find((step) => step.id === id)!;
  }

  private refuseStep(request: StepRequest, raw: messages.PlanStepRequest): void {
    const { requestId, step: id } = parsedInput(messages.planStepRequestSchema, raw);
    const step = this.run.steps.find((candidate) => candidate.id === id);
    if (step?.answeredTo === requestId) return;
    const refusal = this.refusalOfRun() ?? (step ? refusalOfStep(step, request) : `the run has no step ${id}`);
    if (refusal !== undefined) throw ApplicationFailure.nonRetryable(refusal, 'OperationNotAllowed');
  }

  private refuseAbort(raw: messages.AbortRunRequest): void {
    parsedInput(messages.abortRunRequestSchema, raw);
    const refusal = this.refusalOfRun();
    if (refusal !== undefined && this.aborted === undefined)
      throw ApplicationFailure.nonRetryable(refusal, 'OperationNotAllowed');
  }

  private refusalOfRun(): string | undefined {
    const { id, state, phase } = this.run;
    if (state !== 'InProgress') return `the run ${id} has already ended: ${state}`;
    return phase === 'stopping' ? `the run ${id} is stopping: ${this.run.failure}` : undefined;
  }

  private end(state: PlanRun['state'], phase: string): void {
    this.run.state = state;
    this.run.phase = phase;
    this.run.endedAt = now();
  }
}
