/**
 * The frame every job runs in: named tasks, steps that are climbed, progress and end told to the entity, a record left
 * in the vault.
 *
 * Invariants:
 * - A step that is done is never done again: its result is carried through continue-as-new.
 * - The entity hears of the job's end by signal to its workflow id, whichever run of it is alive. When the entity is
 *   closed the job ends with an error.
 * - Cancelled before its point of no return, a job undoes what it did: compensations are registered before their step.
 */
import {
  CancellationScope,
  CancelledFailure,
  ContinueAsNew,
  ApplicationFailure,
  allHandlersFinished,
  condition,
  getExternalWorkflowHandle,
  isCancellation,
  log,
  setHandler,
} from '@temporalio/workflow';
import type { Failure } from '../domain/errors.js';
import { protectedItemId } from '../domain/ids.js';
import { currentTask, newJob, type Job, type JobKind, type RetryState, type TaskName } from '../domain/job.js';
import type { JobOutcome } from '../domain/job-outcome.js';
import { toIso } from '../domain/time.js';
import { climb, type LadderControl } from './ladder.js';
import {
  cancelJobSignal,
  jobEndedSignal,
  jobHeldSignal,
  jobProgressedSignal,
  jobQuery,
  releaseTaskSignal,
  retryJobSignal,
  stillThereSignal,
  vmMovedSignal,
  type JobInput,
} from './messages.js';
import { shouldContinueAsNew } from './history-limit.js';
import { findMoved } from './find-vm.js';
import { publishJob } from './publish.js';
import { ENTITY_CLOSED, entityClosed } from './entity-closed.js';
import { agentOf, azureOf, providerOf } from './sides.js';
import { StepFailure } from './step-failure.js';
import { tellPlan } from './tell-plan.js';

/** What a job's body hands back when it has succeeded. */
export type JobSuccess = Omit<JobOutcome, 'outcome' | 'failure'> & { result?: Record<string, unknown> };

const SUPERSEDED = 'Another job has taken over';

const now = () => toIso(Date.now());

export class JobRun<K extends JobKind> {
  agent;
  readonly provider;
  readonly azure;
  readonly job: Job;
  readonly namesGiven = new Set<string>();
  private readonly results: Record<string, unknown>;
  private readonly released: Set<string>;
  private readonly compensations: { name: string; undo: () => Promise<void> }[] = [];
  private readonly ladder: LadderControl;
  private entityClosed = false;
  private superseded = false;
  /** What the entity has to know even if the job does not succeed. */
  known: Pick<JobOutcome, 'epoch' | 'cycle' | 'recoveryPoint'> = {};

  constructor(
    public input: JobInput,
    readonly kind: K,
    private readonly restart: (carried: JobInput) => Promise<never>,
  ) {
    this.agent = agentOf(input.host);
    this.provider = providerOf(input.vmmServer);
    this.azure = azureOf(input.vault);
    this.job = input.carried?.record ?? {
      ...newJob(kind, input.id, input.vault, input.vm, now()),
      ...(input.planRun !== undefined && { planRun: input.planRun }),
    };
    this.results = input.carried?.results ?? {};
    this.released = new Set(input.carried?.released);
    this.ladder = {
      retryRequested: false,
      interrupted: () => this.superseded || shouldContinueAsNew(this.input.tuning),
      moved: (failure) => this.follow(failure),
      publish: (retry) => this.showRetry(retry),
    };
    setHandler(jobQuery, () => this.job);
    setHandler(retryJobSignal, () => {
      if (this.job.retry) this.ladder.retryRequested = true;
    });
    setHandler(releaseTaskSignal, ({ task }) => void this.released.add(task));
    setHandler(stillThereSignal, () => undefined);
    publishJob(this.job);
  }

  /** Runs a task once. Before it, holds when the plan run wants that. */
  async task<T>(name: TaskName<K>, body: () => Promise<T>): Promise<T> {
    const task = this.job.tasks.find((candidate) => candidate.name === name);
    if (!task) throw new Error(`job ${this.kind} has no task "${name}"`);
    if (task.state === 'Succeeded') return this.results[`task:${name}`] as T;
    await this.hold(name);
    task.state = 'InProgress';
    task.startedAt ??= now();
    await this.tellEntity();
    const result = await body();
    this.results[`task:${name}`] = result;
    task.state = 'Succeeded';
    task.endedAt = now();
    return result;
  }

  /**
   * One activity, climbed. Its result is remembered, so the body may be run from its start again.
   * @param name unique within the job
   */
  async step<T>(name: string, call: () => Promise<T>): Promise<T> {
    if (name in this.results) return this.results[name] as T;
    if (shouldContinueAsNew(this.input.tuning)) await this.continueAsNew();
    const climbed = await climb(name, call, this.ladder, this.job.retry);
    if (!climbed.done) return this.continueAsNew();
    // A step without a result still has to be remembered as done.
    this.results[name] = climbed.value ?? null;
    return climbed.value;
  }

  /** A step that is called until its answer says that it is done; where it stands is carried along. */
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
      if (shouldContinueAsNew(this.input.tuning)) await this.continueAsNew();
      const from = state;
      const climbed = await climb(name, () => call(from), this.ladder, this.job.retry);
      if (!climbed.done) return this.continueAsNew();
      ({ state, done } = advance(state, climbed.value));
      this.results[key] = { state, done };
    }
    return state;
  }

  /** Registers what undoes the step that follows; run when the job is cancelled or fails. */
  compensateWith(name: string, undo: () => Promise<void>): void {
    this.compensations.push({ name, undo });
  }

  /** From here on the job can't be undone. */
  pointOfNoReturn(): void {
    this.compensations.length = 0;
  }

  /** @param sent bytes that crossed since the last report. */
  async report(bytesDone: number, bytesTotal: number, sent: number): Promise<void> {
    this.job.progress = { bytesDone, bytesTotal, bytesSent: (this.job.progress?.bytesSent ?? 0) + sent };
    await this.tellEntity();
  }

  async run(body: (run: this) => Promise<JobSuccess>): Promise<Job> {
    const scope = new CancellationScope();
    setHandler(cancelJobSignal, ({ reason, superseded }) => {
      log.info('The job is asked to cancel', { reason });
      if (superseded) {
        this.superseded = true;
        // Undoing would work against who takes over: a source that was shut down must not start again.
        this.compensations.length = 0;
      }
      scope.cancel();
    });
    try {
      const success = await scope.run(() => body(this));
      const { result, ...outcome } = success;
      this.job.state = 'Succeeded';
      if (result) this.job.result = result;
      await CancellationScope.nonCancellable(() => this.finish({ outcome: 'succeeded', ...outcome }));
    } catch (error) {
      if (error instanceof ContinueAsNew) throw error;
      const cancelled = isCancellation(error);
      if (!cancelled && !(error instanceof StepFailure)) throw error;
      await CancellationScope.nonCancellable(() => this.giveUp(cancelled ? undefined : (error as StepFailure).failure));
    }
    await condition(allHandlersFinished);
    return this.end();
  }

  /** The workflow ends as its job did, so that the Temporal Web UI shows it so. */
  private end(): Job {
    const { state, failure } = this.job;
    if (this.entityClosed) throw ApplicationFailure.nonRetryable(ENTITY_CLOSED, 'EntityClosed', this.job);
    if (state === 'Failed') throw ApplicationFailure.nonRetryable(failure?.message, failure?.code, this.job);
    if (state === 'Cancelled') {
      if (CancellationScope.current().consideredCancelled) throw new CancelledFailure('The job was cancelled');
      throw ApplicationFailure.nonRetryable('The job was cancelled', 'Cancelled', this.job);
    }
    return this.job;
  }

  private async giveUp(failure: Failure | undefined): Promise<void> {
    const task = currentTask(this.job);
    if (task) {
      task.state = failure ? 'Failed' : 'Cancelled';
      task.endedAt = now();
    }
    const problems: string[] = [];
    for (const { name, undo } of this.compensations.reverse()) {
      // Each is climbed inside; what still fails must not keep the others from being tried.
      await undo().catch((error: unknown) => void problems.push(`${name}: ${String(error)}`));
    }
    const told =
      problems.length > 0 && failure
        ? { ...failure, message: `${failure.message}; not undone: ${problems.join('; ')}` }
        : failure;
    this.job.state = told ? 'Failed' : 'Cancelled';
    delete this.job.retry;
    if (told) this.job.failure = told;
    await this.finish({ outcome: told ? 'failed' : 'cancelled', ...(told && { failure: told }), ...this.known });
  }

  private async finish(outcome: JobOutcome): Promise<void> {
    this.job.endedAt = now();
    delete this.job.heldBefore;
    publishJob(this.job);
    await this.leaveRecord();
    await tellPlan(this.job, outcome);
    await this.entity()
      .signal(jobEndedSignal, { jobId: this.job.id, result: outcome })
      .catch(() => {
        this.entityClosed = true;
      });
  }

  /** One attempt only: a store that can't be reached must not keep a finished job from ending. */
  private async leaveRecord(): Promise<void> {
    await this.azure.recordJob({ job: this.job }).catch((error: unknown) => {
      log.warn('The record of this job could not be left in the vault', { error: String(error) });
    });
  }

  private async hold(task: TaskName<K>): Promise<void> {
    const { holdBefore, planRun } = this.input;
    if (planRun === undefined || !holdBefore?.includes(task) || this.released.has(task)) return;
    this.job.heldBefore = task;
    publishJob(this.job);
    await getExternalWorkflowHandle(planRun).signal(jobHeldSignal, { vm: this.job.vm, jobId: this.job.id, task });
    await condition(() => this.released.has(task) || this.superseded);
    if (this.superseded) throw new CancelledFailure(SUPERSEDED);
    delete this.job.heldBefore;
    publishJob(this.job);
  }

  /** What the job does at its host goes on where the VM is now. */
  private async follow(failure: Failure): Promise<boolean> {
    const found = await findMoved(this.input, failure);
    if (!found) return false;
    this.input = { ...this.input, host: found.host };
    this.agent = agentOf(found.host);
    await this.entity().signal(vmMovedSignal, found).catch(entityClosed);
    return true;
  }

  private showRetry(retry: RetryState | undefined): void {
    if (retry) this.job.retry = retry;
    else delete this.job.retry;
    void this.tellEntity().catch(() => undefined);
  }

  private async tellEntity(): Promise<void> {
    publishJob(this.job);
    const { id, progress, retry } = this.job;
    const task = currentTask(this.job)?.name;
    const news = {
      jobId: id,
      ...(task !== undefined && { task }),
      ...(progress && { progress }),
      ...(retry && { retry }),
    };
    await this.entity().signal(jobProgressedSignal, news).catch(entityClosed);
  }

  private entity() {
    return getExternalWorkflowHandle(protectedItemId(this.job.vault, this.job.vm));
  }

  private async continueAsNew(): Promise<never> {
    if (this.superseded) throw new CancelledFailure(SUPERSEDED);
    await condition(allHandlersFinished);
    const carried = { record: this.job, results: this.results, released: [...this.released] };
    return this.restart({ ...this.input, carried });
  }
}
