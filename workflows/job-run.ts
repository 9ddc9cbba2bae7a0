/**
 * The frame in which every job runs: named tasks, steps that climb the ladder, reports of progress and end to the
 * entity, and a record in the vault.
 *
 * Invariants:
 * - A finished step is never repeated: its result is carried through continue-as-new.
 * - The job signals its end to the entity's workflow id, whichever run of it is alive. If the entity is closed, the job
 * ends with an error.
 * - A job that is cancelled before its point of no return undoes its steps: compensations are registered before their
 * step. Undoing climbs the ladder. If the job is cancelled again meanwhile, it ends, and the entity is told which steps
 * were not undone.
 * - Each step first checks whether another job has taken over.
 */
import { CancellationScope, CancelledFailure, isCancellation, log } from '@temporalio/workflow';
import { toFailure, type Failure } from '../domain/errors.js';
import { protectedItemId } from '../domain/ids.js';
import { currentTask, type Job, type RetryState } from '../domain/job.js';
import { newJob, taskOf } from '../domain/jobs/job-record.js';
import type { JobKind, TaskName } from '../domain/jobs/known-jobs.js';
import type { NotDone } from '../domain/not-done.js';
import type { JobOutcome } from '../domain/job-outcome.js';
import { withLeft, type Undoing } from '../domain/undoing.js';
import { now } from './clock.js';
import { handlersOf } from './handlers.js';
import { climb, type LadderControl } from './ladder.js';
import {
  cancelJobSignal,
  jobCancellationSchema,
  jobQuery,
  releaseTaskSignal,
  releasedTaskSchema,
  retryJobSignal,
  stillThereSignal,
  vmMovedSignal,
  type JobInput,
} from './messages.js';
import { inputOfNextRun, shouldContinueAsNew } from './history-limit.js';
import { findMoved } from './find-vm.js';
import { publishJob } from './publish.js';
import { EntityClosed, entityClosed } from './entity-closed.js';
import { sourceOf, targetOf, sourceFabricOf } from './sides.js';
import { unexpected } from './start-input.js';
import { endOfJob } from './end-of-job.js';
import { JobUndoing } from './job-undoing.js';
import { waitAtGate } from './plan-gate.js';
import { isStillThere } from './running-job.js';
import { StepFailure } from './step-failure.js';
import { entityOf, leaveRecord, tellEnd, tellProgress } from './tell-entity.js';
import { tellPlan } from './tell-plan.js';
import { untilAnswered } from './wait.js';

/** Returned by a job's body when it has succeeded. */
export type JobSuccess = Omit<JobOutcome, 'outcome' | 'failure'> & { result?: Record<string, unknown> };

const SUPERSEDED = 'Another job has taken over';

export class JobRun<K extends JobKind> {
  source;
  readonly sourceFabric;
  readonly target;
  readonly job: Job;
  readonly namesGiven = new Set<string>();
  private readonly results: Record<string, unknown>;
  private readonly released: Set<string>;
  private readonly undoing = new JobUndoing(this);
  readonly ladder: LadderControl;
  private entityClosed = false;
  private superseded = false;
  /** Facts that the entity needs even if the job does not succeed. */
  known: Pick<JobOutcome, 'epoch' | 'cycle' | 'recoveryPoint' | 'tested'> = {};

  constructor(
    public input: JobInput,
    readonly kind: K,
    private readonly restart: (carried: JobInput) => Promise<never>,
  ) {
    this.source = sourceOf(input.vault, input.host);
    this.sourceFabric = sourceFabricOf(input.vault, input.vmmServer);
    this.target = targetOf(input.vault);
    this.job = input.carried?.record ?? {
      ...newJob(kind, input.id, input.vault, input.vm, now()),
      ...(input.planRun !== undefined && { planRun: input.planRun }),
      ...(input.parameters?.reason !== undefined && { reason: input.parameters.reason }),
    };
    this.results = input.carried?.results ?? {};
    this.released = new Set(input.carried?.released);
    this.ladder = {
      retryRequested: false,
      interrupted: () => this.superseded || this.entityClosed || this.isLongEnough(),
      stillWanted: () => this.isStillWanted(),
      moved: (failure) => this.follow(failure),
      publish: (retry) => this.showRetry(retry),
    };
    const { onSignal, onCall, onQuery } = handlersOf(input.tuning);
    onQuery(jobQuery, () => this.job);
    onCall(retryJobSignal, () => {
      if (this.job.retry) this.ladder.retryRequested = true;
    });
    onSignal(releaseTaskSignal, releasedTaskSchema, ({ task }) => void this.released.add(task));
    onCall(stillThereSignal, () => undefined);
    publishJob(this.job);
  }

  /**
   * Runs a task once. Before it, waits if the plan run holds it. @param notDone why the result counts as not done, if
   * it does.
   */
  async task<T>(name: TaskName<K>, body: () => Promise<T>, notDone?: (result: T) => NotDone | undefined): Promise<T> {
    const task = taskOf(this.job, name);
    if (!task) throw new Error(`job ${this.kind} has no task "${name}"`);
    if (task.endedAt !== undefined) return this.results[`task:${name}`] as T;
    this.stopIfSuperseded();
    await this.hold(name);
    task.state = 'InProgress';
    task.startedAt ??= now();
    await this.tellEntity();
    const result = await body();
    this.results[`task:${name}`] = result;
    Object.assign(task, notDone?.(result) ?? { state: 'Succeeded' });
    task.endedAt = now();
    return result;
  }

  /**
   * Runs one activity on the ladder. Its result is remembered, so the body can run from its start again.
   * @param name unique within the job.
   * @param isFinal selects failures that end the job instead of being retried.
   */
  async step<T>(name: string, call: () => Promise<T>, isFinal?: (failure: Failure) => boolean): Promise<T> {
    if (name in this.results) return this.results[name] as T;
    this.stopIfSuperseded();
    await this.continueIfLong();
    const climbed = await climb(name, call, this.ladder, this.job.retry, isFinal);
    if (!climbed.done) return this.continueAsNew();
    // A step without a result must be remembered as done, too.
    this.results[name] = climbed.value ?? null;
    return climbed.value;
  }

  /** Calls a step until its answer says that it is done; its position is carried through continue-as-new. */
  async loop<S, R>(
    name: string,
    start: S,
    call: (state: S) => Promise<R>,
    advance: (state: S, answer: R) => { state: S; done: boolean },
  ): Promise<S> {
    const key = `loop:${name}`;
    let { state, done } = (this.results[key] as { state: S; done: boolean } | undefined) ?? {
      state: start,
      done: false,
    };
    while (!done) {
      this.stopIfSuperseded();
      await this.continueIfLong();
      const from = state;
      const climbed = await climb(name, () => call(from), this.ladder, this.job.retry);
      if (!climbed.done) return this.continueAsNew();
      ({ state, done } = advance(state, climbed.value));
      this.results[key] = { state, done };
    }
    return state;
  }

  /** Registers the compensation of the step that follows; it runs if the job is cancelled or fails. */
  compensateWith(what: Undoing): void {
    this.undoing.register(what);
  }

  /** From here on, the job cannot be undone. */
  pointOfNoReturn(): void {
    this.undoing.forget();
  }

  /** Whether somebody has let the job continue with this task. */
  isReleased(task: TaskName<K>): boolean {
    return this.released.has(task);
  }

  /** @param sent bytes that crossed since the last report. */
  async report(bytesDone: number, bytesTotal: number, sent: number): Promise<void> {
    this.job.progress = { bytesDone, bytesTotal, bytesSent: (this.job.progress?.bytesSent ?? 0) + sent };
    await this.tellEntity();
  }

  async run(body: (run: this) => Promise<JobSuccess>): Promise<Job> {
    const scope = new CancellationScope();
    handlersOf(this.input.tuning).onSignal(cancelJobSignal, jobCancellationSchema, ({ reason, superseded }) => {
      log.info('The job is asked to cancel', { reason });
      if (superseded) {
        this.superseded = true;
        // Undoing would work against the job that takes over: a source that was shut down must not start again.
        this.undoing.forget();
      }
      this.undoing.giveUp();
      scope.cancel();
    });
    try {
      const success = await scope.run(() => body(this));
      const { result, ...outcome } = success;
      this.job.state = 'Succeeded';
      if (result) this.job.result = result;
      await CancellationScope.nonCancellable(() => this.finish({ outcome: 'succeeded', ...outcome }));
    } catch (error) {
      const cancelled = isCancellation(error);
      if (!cancelled && !(error instanceof StepFailure)) throw unexpected(error);
      await CancellationScope.nonCancellable(() => this.giveUp(cancelled ? undefined : (error as StepFailure).failure));
    }
    // A cancellation that arrives after the job's work must not change its end.
    await CancellationScope.nonCancellable(untilAnswered);
    return endOfJob(this.job, this.entityClosed);
  }

  private async giveUp(failure: Failure | undefined): Promise<void> {
    const task = currentTask(this.job);
    if (task) Object.assign(task, { state: failure ? 'Failed' : 'Cancelled', endedAt: now() });
    delete this.job.retry;
    const undoing = await this.undoing.run();
    const told = failure && withLeft(failure, undoing.notUndone);
    this.job.state = told ? 'Failed' : 'Cancelled';
    if (told) this.job.failure = told;
    await this.finish({
      outcome: told ? 'failed' : 'cancelled',
      ...(told && { failure: told }),
      ...this.known,
      ...undoing,
    });
  }

  private async finish(outcome: JobOutcome): Promise<void> {
    this.job.endedAt = now();
    delete this.job.heldBefore;
    publishJob(this.job);
    await leaveRecord(this.target, this.job);
    await tellPlan(this.job, outcome);
    this.entityClosed = !(await tellEnd(this.job, outcome));
  }

  private async hold(task: TaskName<K>): Promise<void> {
    const { holdBefore, planRun } = this.input;
    if (planRun === undefined || !holdBefore?.includes(task) || this.released.has(task)) return;
    this.job.heldBefore = task;
    publishJob(this.job);
    const isFree = () => this.released.has(task) || this.superseded;
    const isReleased = await waitAtGate(this.job, planRun, task, isFree, () => this.continueIfLong());
    if (this.superseded) throw new CancelledFailure(SUPERSEDED);
    delete this.job.heldBefore;
    publishJob(this.job);
    if (isReleased) return;
    const problem = `this job was held before "${task}" by the plan run ${planRun}, which no longer exists`;
    // If the job can be undone, undo it; otherwise let it run to its end without being released.
    if (this.undoing.isPossible) throw new StepFailure(toFailure('PlanGone', problem));
    log.warn('The job continues without its plan run', { problem });
  }

  /**
   * Checks that the entity still exists: only it can pass on the `retry` that a job waits for. @returns false if it is
   * gone.
   */
  private async isStillWanted(): Promise<boolean> {
    this.entityClosed ||= !(await isStillThere(protectedItemId(this.job.vault, this.job.vm)));
    return !this.entityClosed;
  }

  private isLongEnough(): boolean {
    // A job does not continue as new while undoing: a rung takes up to 30 minutes, so its history grows by a few
    // hundred events a day.
    return this.undoing.isUnderWay ? this.undoing.isGivenUp : shouldContinueAsNew();
  }

  private stopIfSuperseded(): void {
    if (this.superseded) throw new CancelledFailure(SUPERSEDED);
  }

  /** Continues the job's work at its host where the VM is now. */
  private async follow(failure: Failure): Promise<boolean> {
    const found = await findMoved(this.input, failure);
    if (!found) return false;
    this.input = { ...this.input, host: found.host };
    this.source = sourceOf(this.input.vault, found.host);
    await entityOf(this.job).signal(vmMovedSignal, found).catch(entityClosed);
    return true;
  }

  private showRetry(retry: RetryState | undefined): void {
    if (retry) this.job.retry = retry;
    else delete this.job.retry;
    void this.tellEntity().catch((error: unknown) => {
      // Makes the ladder give up.
      if (error instanceof EntityClosed) this.entityClosed = true;
    });
  }

  async tellEntity(): Promise<void> {
    publishJob(this.job);
    await tellProgress(this.job);
  }

  private async continueIfLong(): Promise<void> {
    if (shouldContinueAsNew()) await this.continueAsNew();
  }

  private async continueAsNew(): Promise<never> {
    if (this.superseded) throw new CancelledFailure(SUPERSEDED);
    if (this.entityClosed) throw new EntityClosed();
    await untilAnswered();
    const carried = { record: this.job, results: this.results, released: [...this.released] };
    return this.restart({ ...inputOfNextRun(this.input), carried });
  }
}
