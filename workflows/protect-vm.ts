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
  CancellationScope,
  allHandlersFinished,
  condition,
  continueAsNew,
  isCancellation,
  log,
  setHandler,
} from '@temporalio/workflow';
import { jobId as makeJobId } from '../domain/ids.js';
import { followUpOf, jobTitles, type JobKind } from '../domain/job.js';
import { tagRequestOf } from '../domain/named-points.js';
import { jobOperations, type Operation } from '../domain/operations.js';
import { cycleToRequest, next, type ItemEvent } from '../domain/transitions.js';
import type { JobOutcome } from '../domain/job-outcome.js';
import {
  isCycleDue,
  isResyncDue,
  newProtectedItem,
  resyncState,
  type JobRequest,
  type ProtectedItem,
} from '../domain/protected-item.js';
import { later, toIso, toMs } from '../domain/time.js';
import { deltaCycle } from './delta-cycle.js';
import { fenceSource } from './fence-source.js';
import { followVm } from './find-vm.js';
import type { LadderControl } from './ladder.js';
import * as messages from './messages.js';
import { shouldContinueAsNew } from './history-limit.js';
import { viewOf } from '../domain/item-view.js';
import { publishItem } from './publish.js';
import { answeredBefore, parsedInput, refuseSyncUnlessAllowed, refuseUnlessAllowed } from './refusal.js';
import { resyncOpening } from './sides.js';
import { handleSettings } from './settings.js';
import { startJob } from './start-job.js';
import { answerPlan } from './plan-request.js';
import { askToRetry, CLOSED_FROM_OUTSIDE, isStillThere, supersede } from './running-job.js';
import { tellOthers } from './tell-others.js';
import { uncancelled } from './uncancelled.js';
import { watchHealth } from './watch-health.js';

/** A job that has not been heard of for this long is asked whether it still exists, ms. */
const SILENT_JOB_MS = 10 * 60_000;

type NewJobRequest = Omit<JobRequest, 'jobId' | 'kind'>;

const now = () => toIso(Date.now());

export async function protectVm(raw: messages.ProtectVmInput): Promise<ProtectedItem> {
  const entity = new ProtectionEntity(parsedInput(messages.protectVmInputSchema, raw));
  return uncancelled(() => entity.run());
}

class ProtectionEntity {
  private item: ProtectedItem;
  private closing = false;
  /** The cycle under way. */
  private cycling: CancellationScope | undefined;
  private readonly ladder: LadderControl;
  /** For what works beside the loop. */
  private readonly itself;

  constructor(private readonly input: messages.ProtectVmInput) {
    const { vault, vm, host, vmmServer, policy } = input;
    this.item = input.item ?? newProtectedItem({ vault, vm, host, vmmServer, policy });
    this.itself = {
      item: () => this.item,
      over: () => this.closing,
      publish: () => this.publish(),
      on: (event: ItemEvent) => this.on(event),
      tuning: input.tuning,
    };
    this.ladder = {
      retryRequested: false,
      interrupted: () =>
        this.item.pending.length > 0 || this.item.paused !== undefined || shouldContinueAsNew(this.input.tuning),
      moved: (failure) => followVm(this.itself, failure),
      publish: (retry) => this.on(retry ? { type: 'stepFailed', retry } : { type: 'stepRecovered' }),
    };
    this.registerHandlers();
    this.publish();
  }

  async run(): Promise<ProtectedItem> {
    void watchHealth(this.itself);
    void fenceSource(this.itself);
    const watched = tellOthers(this.itself);
    while (!this.isOver()) {
      if (shouldContinueAsNew(this.input.tuning)) await this.continueAsNew();
      const request = this.item.pending[0];
      if (this.item.job && this.isTakenOver()) await this.giveJobUp(this.item.job.jobId);
      else if (this.item.job) await this.waitForJob();
      else if (request) await this.startJob(request);
      else if (resyncState(this.item, now()) === 'unscheduled') await this.scheduleResync();
      else if (isResyncDue(this.item, now()))
        this.enqueue('resynchronize', { requestId: `resync/${this.item.vm}/${now()}` });
      else if (isCycleDue(this.item, now())) await this.cycle();
      else await this.sleep();
    }
    this.closing = true;
    await watched;
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
      validator: (request) => refuseSyncUnlessAllowed(this.item, request),
    });
    setHandler(messages.resynchronizeUpdate, (request) => this.resynchronize(request), {
      validator: (request) => this.validate('resynchronize', request),
    });
    setHandler(messages.retryUpdate, () => this.retry(), { validator: (request) => this.validate('retry', request) });
    handleSettings({
      item: () => this.item,
      on: (event) => this.on(event),
      validate: (...request) => this.validate(...request),
    });
    setHandler(messages.protectedItemQuery, () => viewOf(this.item, now()));
    setHandler(messages.hostNewsSignal, (news) => this.on({ type: 'hostChanged', news, at: now() }));
    setHandler(messages.vmMovedSignal, (found) => this.on({ type: 'vmMoved', found, at: now() }));
    setHandler(messages.requestJobSignal, (request) =>
      answerPlan(request, this.item.vm, (kind, wanted) => {
        this.validate(kind, { requestId: wanted.requestId });
        return this.accept(kind, wanted);
      }),
    );
    setHandler(messages.jobProgressedSignal, (news) => this.on({ type: 'jobProgressed', at: now(), ...news }));
    setHandler(messages.jobEndedSignal, ({ jobId, result }) => this.onJobEnded(jobId, result));
  }

  private validate(operation: Operation, raw: messages.OperationRequest, schema?: messages.RequestSchema): void {
    refuseUnlessAllowed(this.item, operation, raw, schema, this.closing && this.isOver());
  }

  private accept(kind: JobKind, request: NewJobRequest): messages.JobAccepted {
    return { jobId: answeredBefore(this.item, request.requestId) ?? this.enqueue(kind, request) };
  }

  private enqueue(kind: JobKind, request: NewJobRequest): string {
    const { vm, answered } = this.item;
    let serial = 0;
    let jobId = makeJobId(vm, kind, now(), serial);
    while (answered.some((entry) => entry.jobId === jobId)) jobId = makeJobId(vm, kind, now(), (serial += 1));
    this.on({ type: 'jobRequested', request: { ...request, kind, jobId } });
    if (kind === 'unplannedFailover') this.cycling?.cancel();
    return jobId;
  }

  private sync({ requestId, tag }: messages.SyncRequest): messages.SyncAccepted {
    const before = tagRequestOf(this.item, requestId);
    if (before) return { sequence: before.sequence };
    const sequence = cycleToRequest(this.item);
    this.on({ type: 'cycleRequested', at: now(), ...(tag !== undefined && { tag: { name: tag, requestId } }) });
    this.retryCycle();
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
    const from = later(now(), resync?.notBefore ?? now());
    const { opensAt } = await resyncOpening({ window, now: from, skipOpen: resync?.skipOpen ?? false });
    this.on({ type: 'resyncScheduled', dueAt: opensAt });
  }

  private async retry(): Promise<{ retried: string }> {
    const { job, retry, vm } = this.item;
    if (job?.retry) {
      await askToRetry(job.jobId, () => this.onJobEnded(job.jobId, CLOSED_FROM_OUTSIDE));
      return { retried: jobTitles[job.kind] };
    }
    if (retry) return this.retryCycle();
    // Initial replication or its finalizing ended early: what is done already is not done again.
    const kind: JobKind =
      this.item.recentJobs.at(-1)?.kind === 'finalizeProtection' ? 'finalizeProtection' : 'initialReplication';
    this.enqueue(kind, { requestId: `retry/${vm}/${now()}` });
    return { retried: jobTitles[kind] };
  }

  private retryCycle(): { retried: string } {
    this.ladder.retryRequested ||= this.item.retry !== undefined;
    this.on({ type: 'retryRequested', at: now() });
    return { retried: 'replication cycle' };
  }

  private async cycle(): Promise<void> {
    this.cycling = new CancellationScope();
    try {
      await this.cycling.run(() => deltaCycle(this.itself, this.ladder));
    } catch (error) {
      if (!isCancellation(error) || !this.isTakenOver()) throw error;
    } finally {
      this.cycling = undefined;
    }
  }

  /** An unplanned failover waits for nothing that runs. */
  private isTakenOver(): boolean {
    return this.item.pending[0]?.kind === 'unplannedFailover';
  }

  private async giveJobUp(jobId: string): Promise<void> {
    const isGone = () => this.item.job?.jobId !== jobId;
    await supersede(jobId, isGone);
    if (!isGone()) this.onJobEnded(jobId, { outcome: 'cancelled' });
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
    const woken = () => !this.item.job || this.isTakenOver() || shouldContinueAsNew(this.input.tuning);
    if (await condition(woken, SILENT_JOB_MS)) return;
    const job = this.item.job;
    if (!job || Date.now() - toMs(job.heardAt) < SILENT_JOB_MS) return;
    if ((await isStillThere(job.jobId)) || this.item.job?.jobId !== job.jobId) return;
    log.error('The job of this VM was closed from outside', { job: job.jobId });
    this.onJobEnded(job.jobId, CLOSED_FROM_OUTSIDE);
  }

  private async sleep(): Promise<void> {
    const { cycleDueAt, resync, paused, vm } = this.item;
    const woken = () =>
      this.item.pending.length > 0 ||
      isCycleDue(this.item, now()) ||
      isResyncDue(this.item, now()) ||
      this.item.cycleDueAt !== cycleDueAt ||
      this.item.resync !== resync ||
      this.item.paused !== paused ||
      this.isOver() ||
      shouldContinueAsNew(this.input.tuning);
    const wakeAt = paused ? undefined : resync ? resync.dueAt : cycleDueAt;
    const summary = resync ? `Resynchronization of ${vm}` : `Next cycle of ${vm}`;
    if (wakeAt === undefined) await condition(woken);
    else await condition(woken, Math.max(1, toMs(wakeAt) - Date.now()), { summary });
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
