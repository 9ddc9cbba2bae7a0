/**
 * The protection entity: one per VM, for the VM's whole protected life, with the ID `vm/<vault>/<vm>`. It owns the
 * ProtectedItem, answers requests, starts jobs one at a time, and runs the delta loop between them.
 *
 * Invariants:
 * - All state is in `item`, which only the pure function `next` changes. Continue-as-new carries the whole item.
 * - A job is never awaited: it reports its progress and its end by signals to this workflow ID, whichever run is
 *   current.
 * - While a job runs, the delta loop pauses, so that the data path has one owner at a time.
 * - An update is answered immediately; the loop does the work.
 */
import { CancellationScope, continueAsNew, isCancellation, log } from '@temporalio/workflow';
import { saysHostIsSilent } from '../domain/host-silence.js';
import type { HostNews } from '../domain/host.js';
import { jobId as makeJobId } from '../domain/ids.js';
import { SHUT_DOWN_REPLICA } from '../domain/jobs/failback.js';
import { followUpOf, jobDefinition, type JobKind, titleOf } from '../domain/jobs/known-jobs.js';
import { tagRequestOf } from '../domain/named-points.js';
import { allowedOperations, type Operation } from '../domain/operations.js';
import { cycleToRequest, next, type ItemEvent } from '../domain/transitions.js';
import type { JobOutcome } from '../domain/job-outcome.js';
import {
  isCycleDue,
  isOver,
  isResyncDue,
  newProtectedItem,
  resyncState,
  wantedLeftover,
  type Health,
  type ProtectedItem,
} from '../domain/protected-item.js';
import type { JobRequest } from '../domain/running-job.js';
import { later, toMs } from '../domain/time.js';
import { undoingText } from '../domain/undoing.js';
import { now, nowMs } from './clock.js';
import { deltaCycle } from './delta-cycle.js';
import { fenceSource } from './fence-source.js';
import { handleMessages, type AskedEntity, type NewJobRequest } from './entity-messages.js';
import { DrillJobs } from './drill-jobs.js';
import { handlersOf } from './handlers.js';
import { followVm } from './find-vm.js';
import type { LadderControl } from './ladder.js';
import * as messages from './messages.js';
import { inputOfNextRun, shouldContinueAsNew } from './history-limit.js';
import { publishItem } from './publish.js';
import { answeredBefore, refuseUnlessAllowed } from './refusal.js';
import { resyncOpening } from './sides.js';
import { handleSettings } from './settings.js';
import { migratedInput, neverFailing, startInput } from './start-input.js';
import { startJob } from './start-job.js';
import { askToRetry, closedFromOutside, isStillThere, releaseJob, SILENT_JOB_MS, supersede } from './running-job.js';
import { tellOthers } from './tell-others.js';
import { undoLeftover } from './undo-leftover.js';
import { uncancelled } from './uncancelled.js';
import { until, untilAnswered, untilOrAfter } from './wait.js';
import { HealthWatch } from './watch-health.js';

/** If the next resynchronization window could not be determined, it is looked up again after this time, ms. */
const WINDOW_AGAIN_MS = 10 * 60_000;

type Waited = [ProtectedItem['cycleDueAt'], ProtectedItem['resync'], ProtectedItem['paused']];

export async function protectVm(raw: messages.ProtectVmInput): Promise<ProtectedItem> {
  const entity = new ProtectionEntity(startInput(messages.protectVmInputSchema, migratedInput(raw), raw?.item));
  return uncancelled(() => neverFailing(() => entity.run()));
}

class ProtectionEntity {
  private item: ProtectedItem;
  private health: Health = 'Normal';
  private closing = false;
  /** Scope of the running cycle, or of the undoing of a leftover. */
  private cycling: CancellationScope | undefined;
  private readonly ladder: LadderControl;
  /** This entity, as the work beside the loop sees it. */
  private readonly itself;
  private readonly healthWatch: HealthWatch;
  private readonly drillJobs: DrillJobs;

  constructor(private readonly input: messages.ProtectVmInput) {
    const { vault, vm, host, vmmServer, policy } = input;
    this.item = input.item ?? newProtectedItem({ vault, vm, host, vmmServer, policy });
    this.itself = {
      item: () => this.item,
      health: () => this.health,
      over: () => this.closing,
      publish: () => this.publish(),
      on: (event: ItemEvent) => this.on(event),
      note: (event: ItemEvent) => this.note(event),
      tuning: input.tuning,
    };
    this.healthWatch = new HealthWatch(this.itself);
    this.drillJobs = new DrillJobs({
      ...this.itself,
      enqueue: (kind, request) => void this.enqueue(kind, request),
      jobEnded: (jobId, result) => this.onJobEnded(jobId, result),
    });
    this.ladder = {
      retryRequested: false,
      interrupted: () =>
        this.item.pending.length > 0 ||
        this.item.paused !== undefined ||
        wantedLeftover(this.item) !== undefined ||
        shouldContinueAsNew(),
      moved: (failure) => followVm(this.itself, failure),
      publish: (retry) => this.on(retry ? { type: 'stepFailed', retry } : { type: 'stepRecovered' }),
    };
    this.registerHandlers();
    this.publish();
  }

  async run(): Promise<ProtectedItem> {
    void this.healthWatch.run();
    void fenceSource(this.itself);
    void this.drillJobs.run();
    const watched = tellOthers(this.itself);
    while (!isOver(this.item)) {
      if (shouldContinueAsNew()) await this.continueAsNew();
      const request = this.item.pending[0];
      if (this.item.job && this.isTakenOver()) await this.giveJobUp(this.item.job.jobId);
      else if (this.item.job) await this.waitForJob();
      else if (request) await this.startJob(request);
      else if (wantedLeftover(this.item)) await this.cancellable(() => undoLeftover(this.itself));
      else if (resyncState(this.item, now()) === 'unscheduled') await this.scheduleResync();
      else if (isResyncDue(this.item, now()))
        this.enqueue('resynchronize', { requestId: `resync/${this.item.vm}/${now()}` });
      else if (isCycleDue(this.item, now())) await this.cancellable(() => deltaCycle(this.itself, this.ladder));
      else await this.sleep();
    }
    this.closing = true;
    await watched;
    await untilAnswered();
    return this.item;
  }

  private registerHandlers(): void {
    const asked: AskedEntity = {
      item: () => this.item,
      on: (event) => this.on(event),
      validate: (...request) => this.validate(...request),
      accept: (kind, request) => this.accept(kind, request),
      sync: (request) => this.sync(request),
      resynchronize: (request) => this.resynchronize(request),
      retry: () => this.retry(),
      completeFailback: () => this.completeFailback(),
      jobEnded: (jobId, result) => this.onJobEnded(jobId, result),
      hostNews: (news) => this.onHostNews(news),
    };
    const handlers = handlersOf(this.input.tuning);
    handleMessages(handlers, asked);
    handleSettings(handlers, asked);
  }

  private validate(operation: Operation, raw: messages.OperationRequest): void {
    refuseUnlessAllowed(this.item, operation, raw, undefined, this.closing && isOver(this.item));
  }

  private accept(kind: JobKind, request: NewJobRequest): messages.JobAccepted {
    return { jobId: answeredBefore(this.item, request.requestId) ?? this.enqueue(kind, request) };
  }

  private enqueue(kind: JobKind, request: NewJobRequest): string {
    const { vault, vm, answered } = this.item;
    let serial = 0;
    let jobId = makeJobId(vault, vm, kind, now(), serial);
    while (answered.some((entry) => entry.jobId === jobId)) jobId = makeJobId(vault, vm, kind, now(), (serial += 1));
    this.on({ type: 'jobRequested', request: { ...request, kind, jobId } });
    if (jobDefinition(kind).takesOver) this.cycling?.cancel();
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
      this.on({ type: 'resyncRequired', cause: 'An operator requested a resynchronization', at: now() });
    }
    return {};
  }

  private async scheduleResync(): Promise<void> {
    const { policy, resync } = this.item;
    const window = policy.resynchronizationWindow;
    const from = later(now(), resync?.notBefore ?? now());
    try {
      const { opensAt } = await resyncOpening({ window, now: from, skipOpen: resync?.skipOpen ?? false });
      this.on({ type: 'resyncScheduled', dueAt: opensAt });
    } catch (error) {
      if (isCancellation(error)) throw error;
      log.error('The resynchronization window could not be determined', { vm: this.item.vm, error: String(error) });
      const changed = () => this.item.policy !== policy || this.isWoken(this.item.cycleDueAt, resync, this.item.paused);
      await untilOrAfter(changed, WINDOW_AGAIN_MS, 'Find the next resynchronization window');
    }
  }

  private async retry(): Promise<{ retried: string }> {
    const beside = this.item.drill?.job;
    if (beside?.retry) {
      await this.retryJob(beside.jobId);
      const { drill: _, ...rest } = this.item;
      if (!allowedOperations(rest).retry.allowed) return { retried: titleOf(beside.kind) };
    }
    const { job, retry, vm } = this.item;
    if (job?.retry) {
      await this.retryJob(job.jobId);
      return { retried: titleOf(job.kind) };
    }
    if (this.item.leftovers) {
      this.on({ type: 'undoingRequested' });
      if (retry) this.retryCycle();
      return { retried: this.item.leftovers.map(({ what }) => undoingText[what]).join(', ') };
    }
    if (retry) return this.retryCycle();
    // Initial replication or its finalizing ended early; the new job skips what is already done.
    const kind: JobKind =
      this.item.recentJobs.at(-1)?.kind === 'finalizeProtection' ? 'finalizeProtection' : 'initialReplication';
    this.enqueue(kind, { requestId: `retry/${vm}/${now()}` });
    return { retried: titleOf(kind) };
  }

  private retryJob(jobId: string): Promise<void> {
    return askToRetry(jobId, () => this.onJobEnded(jobId, closedFromOutside()));
  }

  /** Only while a failback runs. */
  private async completeFailback(): Promise<messages.JobAccepted> {
    const { jobId } = this.item.job!;
    await releaseJob(jobId, SHUT_DOWN_REPLICA, () => this.onJobEnded(jobId, closedFromOutside()));
    return { jobId };
  }

  private retryCycle(): { retried: string } {
    this.ladder.retryRequested ||= this.item.retry !== undefined;
    this.on({ type: 'retryRequested', at: now() });
    return { retried: 'replication cycle' };
  }

  private async cancellable(work: () => Promise<void>): Promise<void> {
    this.cycling = new CancellationScope();
    try {
      await this.cycling.run(work);
    } catch (error) {
      if (!isCancellation(error) || !this.isTakenOver()) throw error;
    } finally {
      this.cycling = undefined;
    }
  }

  /** Whether the next waiting job takes over from whatever runs now. */
  private isTakenOver(): boolean {
    const [request] = this.item.pending;
    return request !== undefined && jobDefinition(request.kind).takesOver === true;
  }

  private async giveJobUp(jobId: string): Promise<void> {
    const isGone = () => this.item.job?.jobId !== jobId;
    await supersede(jobId, isGone);
    if (!isGone()) this.onJobEnded(jobId, { outcome: 'cancelled' });
  }

  private async startJob(request: JobRequest): Promise<void> {
    // This comes before the child exists and can signal, so that each of its signals finds the job here.
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

  /**
   * When a silent host answers again, retries the steps that failed because of it; until then the VM reports its host
   * as silent.
   */
  private onHostNews(news: HostNews): void {
    const wasSilent = this.item.hostTrouble !== undefined;
    this.on({ type: 'hostChanged', news, at: now() });
    if (!wasSilent || news.trouble) return;
    const { retry, job } = this.item;
    if (retry && saysHostIsSilent(retry.failure.code)) this.retryCycle();
    if (!job?.retry || !saysHostIsSilent(job.retry.failure.code)) return;
    this.retryJob(job.jobId).catch((error: unknown) =>
      log.info('A job that waits for its host could not be told that it answers', { error: String(error) }),
    );
  }

  /**
   * Waits for a job's signals. A job that was terminated from outside sends none, so a job that stays silent is
   * signalled to see whether it still exists.
   */
  private async waitForJob(): Promise<void> {
    const woken = () => !this.item.job || this.isTakenOver() || shouldContinueAsNew();
    if (await untilOrAfter(woken, SILENT_JOB_MS, 'Check for news of the job')) return;
    const job = this.item.job;
    if (!job || nowMs() - toMs(job.heardAt) < SILENT_JOB_MS) return;
    if ((await isStillThere(job.jobId)) || this.item.job?.jobId !== job.jobId) return;
    log.error('The job of this VM was closed from outside', { job: job.jobId });
    this.onJobEnded(job.jobId, closedFromOutside());
  }

  private async sleep(): Promise<void> {
    const { cycleDueAt, resync, paused, vm } = this.item;
    const woken = () => this.isWoken(cycleDueAt, resync, paused);
    const wakeAt = paused ? undefined : resync ? resync.dueAt : cycleDueAt;
    const summary = resync ? `Resynchronization of ${vm}` : `Next cycle of ${vm}`;
    const at = wakeAt === undefined ? undefined : toMs(wakeAt);
    if (at === undefined) await until(woken);
    else if (this.healthWatch.endsAt(at)) await until(() => woken() || !this.healthWatch.endsAt(at));
    else await untilOrAfter(woken, at - nowMs(), summary);
  }

  /** Whether there is something else to do than to wait on. The arguments are the values when the wait began. */
  private isWoken(...[cycleDueAt, resync, paused]: Waited): boolean {
    const { item } = this;
    const isChanged = item.cycleDueAt !== cycleDueAt || item.resync !== resync || item.paused !== paused;
    const isWanted = item.pending.length > 0 || wantedLeftover(item) !== undefined;
    return isWanted || isChanged || isOver(item) || shouldContinueAsNew();
  }

  private on(event: ItemEvent): void {
    const before = this.item;
    this.note(event);
    if (this.item === before) return;
    if (before.phase !== this.item.phase)
      log.info('Phase changed', { vm: before.vm, from: before.phase, to: this.item.phase });
    this.publish();
  }

  /** Published together with the next event. */
  private note(event: ItemEvent): void {
    this.item = next(this.item, event);
  }

  private publish(): void {
    this.health = publishItem(this.item, now());
  }

  private async continueAsNew(): Promise<never> {
    this.closing = true;
    // No `await` without need: histories record the order of events.
    if (this.drillJobs.isStarting) await until(() => !this.drillJobs.isStarting);
    await untilAnswered();
    return continueAsNew<typeof protectVm>({ ...inputOfNextRun(this.input), item: this.item });
  }
}
