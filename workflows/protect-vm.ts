/**
 * The protection entity: one per VM, for the VM's whole protected life, id `vm/<vault>/<vm>`. It owns the
 * ProtectedItem, answers what may be asked, starts the jobs one at a time, and runs the delta loop between them.
 *
 * Invariants:
 * - All state is in `item`, changed only by the pure `next`; continue-as-new carries it whole.
 * - A job is never awaited: it tells its progress and end by signal to this workflow id, whichever run is alive.
 * - While a job is there the delta loop rests: the data path has one owner at a time.
 * - An update answers at once; the work is done by the loop.
 */
import {
  allHandlersFinished,
  condition,
  continueAsNew,
  getExternalWorkflowHandle,
  isCancellation,
  log,
  setHandler,
} from '@temporalio/workflow';
import { conditionsOf, healthOf, rpoSeconds } from '../domain/health.js';
import { jobId as makeJobId } from '../domain/ids.js';
import { jobTitles, type JobKind } from '../domain/job.js';
import { allowedOperations, jobOperations, type Operation } from '../domain/operations.js';
import { cycleToRequest, next, type ItemEvent, type JobOutcome } from '../domain/transitions.js';
import { followUpOf } from '../domain/job.js';
import { tagRefusal, tagRequestOf } from '../domain/named-points.js';
import { newProtectedItem, resyncState, type JobRequest, type ProtectedItem } from '../domain/protected-item.js';
import { toIso, toMs } from '../domain/time.js';
import { deltaCycle } from './delta-cycle.js';
import type { LadderControl } from './ladder.js';
import * as messages from './messages.js';
import { shouldContinueAsNew } from './history-limit.js';
import { publishItem } from './publish.js';
import { resyncOpening } from './sides.js';
import { parseRequest, requireAllowed } from './request-check.js';
import { startJob } from './start-job.js';
import { watchHealth } from './watch-health.js';

/** A job that has not been heard of for this long is asked whether it still exists, ms. */
const SILENT_JOB_MS = 10 * 60_000;

type NewJobRequest = Omit<JobRequest, 'jobId' | 'kind'>;

const now = () => toIso(Date.now());

export async function protectVm(raw: messages.ProtectVmInput): Promise<ProtectedItem> {
  return new ProtectionEntity(parseRequest(messages.protectVmInputSchema, raw)).run();
}

class ProtectionEntity {
  private item: ProtectedItem;
  private closing = false;
  private readonly ladder: LadderControl;

  constructor(private readonly input: messages.ProtectVmInput) {
    const { vault, vm, host, vmmServer, policy } = input;
    this.item = input.item ?? newProtectedItem({ vault, vm, host, vmmServer, policy });
    this.ladder = {
      retryRequested: false,
      interrupted: () => this.item.pending.length > 0 || shouldContinueAsNew(this.input.tuning),
      publish: (retry) => this.on(retry ? { type: 'stepFailed', retry } : { type: 'stepRecovered' }),
    };
    this.registerHandlers();
    this.publish();
  }

  async run(): Promise<ProtectedItem> {
    void watchHealth({
      item: () => this.item,
      over: () => this.closing,
      publish: () => this.publish(),
    });
    while (!this.isOver()) {
      if (shouldContinueAsNew(this.input.tuning)) await this.continueAsNew();
      const request = this.item.pending[0];
      if (this.item.job) await this.waitForJob();
      else if (request) await this.startJob(request);
      else if (resyncState(this.item, now()) === 'unscheduled') await this.scheduleResync();
      else if (resyncState(this.item, now()) === 'due')
        this.enqueue('resynchronize', { requestId: `resync/${this.item.vm}/${now()}` });
      else if (this.isCycleDue()) await deltaCycle(this.item, this.ladder, (event) => this.on(event));
      else await this.sleep();
    }
    this.closing = true;
    await condition(allHandlersFinished);
    return this.item;
  }

  private registerHandlers(): void {
    for (const operation of jobOperations) {
      setHandler(messages.jobUpdates[operation], (request) => this.accept(operation, request), {
        validator: (request) => this.validate(operation, request),
      });
    }
    setHandler(messages.syncUpdate, (request) => this.sync(request), {
      validator: (request) => this.validateSync(request),
    });
    setHandler(messages.resynchronizeUpdate, (request) => this.resynchronize(request), {
      validator: (request) => this.validate('resynchronize', request),
    });
    setHandler(messages.retryUpdate, () => this.retry(), { validator: (request) => this.validate('retry', request) });
    setHandler(messages.protectedItemQuery, () => this.view());
    setHandler(messages.requestJobSignal, (request) => this.answerPlan(request));
    setHandler(messages.jobProgressedSignal, (news) => this.on({ type: 'jobProgressed', at: now(), ...news }));
    setHandler(messages.jobEndedSignal, ({ jobId, result }) => this.onJobEnded(jobId, result));
  }

  private validate(operation: Operation, raw: messages.JobOperationRequest): void {
    const { requestId } = parseRequest(messages.jobOperationRequestSchema, raw);
    if (this.answeredBefore(requestId)) return;
    const permission = allowedOperations(this.item)[operation];
    requireAllowed(this.item.vm, permission.allowed ? undefined : permission.reason);
  }

  private validateSync(raw: messages.SyncRequest): void {
    const { requestId, tag } = parseRequest(messages.syncRequestSchema, raw);
    if (tagRequestOf(this.item, requestId)) return;
    this.validate('sync', { requestId });
    if (tag !== undefined) requireAllowed(this.item.vm, tagRefusal(this.item, tag));
  }

  private accept(kind: JobKind, request: NewJobRequest): messages.JobAccepted {
    const answered = this.answeredBefore(request.requestId);
    if (answered !== undefined) return { jobId: answered };
    return { jobId: this.enqueue(kind, request) };
  }

  private enqueue(kind: JobKind, request: NewJobRequest): string {
    const { vm, answered } = this.item;
    let serial = 0;
    let jobId = makeJobId(vm, kind, now(), serial);
    while (answered.some((entry) => entry.jobId === jobId)) jobId = makeJobId(vm, kind, now(), (serial += 1));
    this.on({ type: 'jobRequested', request: { ...request, kind, jobId } });
    return jobId;
  }

  private answeredBefore(requestId: string): string | undefined {
    return this.item.answered.find((entry) => entry.requestId === requestId)?.jobId;
  }

  /** A plan run asks by signal and is answered by signal. */
  private async answerPlan(raw: unknown): Promise<void> {
    const parsed = messages.jobRequestSignalSchema.safeParse(raw);
    if (!parsed.success) return log.error('A request of a plan run is not valid', { problem: parsed.error.message });
    const { requestId, kind, planRun, holdBefore } = parsed.data;
    const { vm } = this.item;
    let answer: { jobId: string } | { refusal: string };
    try {
      if (kind !== 'plannedFailover' && kind !== 'commitFailover') throw new Error(`a plan does not run ${kind}`);
      this.validate(kind, { requestId });
      answer = this.accept(kind, { requestId, planRun, holdBefore });
    } catch (error) {
      answer = { refusal: error instanceof Error ? error.message : String(error) };
    }
    await getExternalWorkflowHandle(planRun)
      .signal(messages.jobAnsweredSignal, { vm, requestId, ...answer })
      .catch(() => log.warn('The plan run that asked is gone', { planRun }));
  }

  private sync({ requestId, tag }: messages.SyncRequest): messages.SyncAccepted {
    const before = tagRequestOf(this.item, requestId);
    if (before) return { sequence: before.sequence };
    const sequence = cycleToRequest(this.item);
    this.on({ type: 'cycleRequested', at: now(), ...(tag !== undefined && { tag: { name: tag, requestId } }) });
    if (this.item.retry) this.ladder.retryRequested = true;
    return { sequence };
  }

  private resynchronize({ requestId, now: atOnce }: messages.ResynchronizeRequest): { jobId?: string } {
    if (atOnce) return this.accept('resynchronize', { requestId });
    if (!this.item.resync) {
      this.on({ type: 'resyncRequired', cause: 'An administrator asked for a resynchronization', at: now() });
    }
    return {};
  }

  private async scheduleResync(): Promise<void> {
    const { policy, resync } = this.item;
    const window = policy.resynchronizationWindow;
    const { opensAt } = await resyncOpening({ window, now: now(), skipOpen: resync?.skipOpen ?? false });
    this.on({ type: 'resyncScheduled', dueAt: opensAt });
  }

  private async retry(): Promise<{ retried: string }> {
    const { job, retry, vm } = this.item;
    if (job?.retry) {
      await getExternalWorkflowHandle(job.jobId).signal(messages.retryJobSignal);
      return { retried: jobTitles[job.kind] };
    }
    if (retry) {
      this.ladder.retryRequested = true;
      return { retried: 'replication cycle' };
    }
    // Initial replication or its finalizing ended early: what is done already is not done again.
    const kind: JobKind =
      this.item.recentJobs.at(-1)?.kind === 'finalizeProtection' ? 'finalizeProtection' : 'initialReplication';
    this.enqueue(kind, { requestId: `retry/${vm}/${now()}` });
    return { retried: jobTitles[kind] };
  }

  private view(): messages.ProtectedItemView {
    const at = now();
    const rpo = rpoSeconds(this.item, at);
    return {
      item: this.item,
      health: healthOf(this.item, at),
      conditions: conditionsOf(this.item, at),
      ...(rpo !== undefined && { rpoSeconds: rpo }),
      operations: allowedOperations(this.item),
    };
  }

  private async startJob(request: JobRequest): Promise<void> {
    // Before the child exists it can't signal; after this line every signal of it finds the job here.
    const { item } = this;
    this.on({ type: 'jobStarted', jobId: request.jobId, at: now() });
    await startJob(item, request, this.input.tuning);
  }

  private onJobEnded(jobId: string, result: JobOutcome): void {
    const kind = this.item.job?.jobId === jobId ? this.item.job.kind : undefined;
    this.on({ type: 'jobEnded', jobId, at: now(), result });
    const followUp = kind && result.outcome === 'succeeded' ? followUpOf(kind, this.item.phase) : undefined;
    if (followUp) this.enqueue(followUp, { requestId: `after/${jobId}` });
  }

  /** A job that was terminated from outside can't tell; a signal to it fails then. */
  private async waitForJob(): Promise<void> {
    if (await condition(() => !this.item.job || shouldContinueAsNew(this.input.tuning), SILENT_JOB_MS)) return;
    const job = this.item.job;
    if (!job || Date.now() - toMs(job.heardAt) < SILENT_JOB_MS) return;
    try {
      await getExternalWorkflowHandle(job.jobId).signal(messages.stillThereSignal);
    } catch (error) {
      if (isCancellation(error)) throw error;
      if (this.item.job?.jobId !== job.jobId) return;
      log.error('The job of this VM was closed from outside', { job: job.jobId });
      this.onJobEnded(job.jobId, {
        outcome: 'failed',
        failure: {
          code: 'Unexpected',
          class: 'nonRecoverable',
          message: 'The job was closed from outside',
          remedy: 'Look at the VM on both sides before you go on.',
        },
      });
    }
  }

  private isCycleDue(): boolean {
    const { phase, resync, cycleDueAt, retry } = this.item;
    if (phase !== 'Protected' || resync || cycleDueAt === undefined) return false;
    return retry !== undefined || toMs(cycleDueAt) <= Date.now();
  }

  private async sleep(): Promise<void> {
    const { cycleDueAt, resync, vm } = this.item;
    const woken = () =>
      this.item.pending.length > 0 ||
      this.isCycleDue() ||
      resyncState(this.item, now()) === 'due' ||
      this.item.resync !== resync ||
      this.isOver() ||
      shouldContinueAsNew(this.input.tuning);
    const wakeAt = resync ? resync.dueAt : cycleDueAt;
    if (wakeAt === undefined) await condition(woken);
    else {
      const summary = resync ? `Resynchronization of ${vm}` : `Next cycle of ${vm}`;
      await condition(woken, Math.max(1, toMs(wakeAt) - Date.now()), { summary });
    }
  }

  private on(event: ItemEvent): void {
    const before = this.item;
    this.item = next(before, event);
    if (this.item === before) return;
    if (before.phase !== this.item.phase)
      log.info('Phase changed', { vm: before.vm, from: before.phase, to: this.item.phase });
    this.publish();
  }

  private publish(): void {
    publishItem(this.item, now());
  }

  /** Protection that never came about leaves nothing to look after. */
  private isOver(): boolean {
    const { phase, job, pending, recentJobs } = this.item;
    return phase === 'Unprotected' && !job && pending.length === 0 && recentJobs.length > 0;
  }

  private async continueAsNew(): Promise<never> {
    this.closing = true;
    await condition(allHandlersFinished);
    return continueAsNew<typeof protectVm>({ ...this.input, item: this.item });
  }
}
