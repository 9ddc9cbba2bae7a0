/**
 * The jobs of a VM's test failover, which run beside the entity's loop: starts each as soon as it is requested, notices
 * one that was closed from outside, and requests the clean-up when the test failover's time is over.
 *
 * Restart: everything follows from the item's `drill`, which continue-as-new carries. While there is none, this waits
 * for a state and issues no command, so histories from before test failovers replay unchanged.
 */
import { log } from '@temporalio/workflow';
import type { JobOutcome } from '../domain/job-outcome.js';
import type { JobKind } from '../domain/jobs/known-jobs.js';
import type { ProtectedItem } from '../domain/protected-item.js';
import type { JobRequest } from '../domain/running-job.js';
import { toMs } from '../domain/time.js';
import type { ItemEvent } from '../domain/transitions.js';
import { now, nowMs } from './clock.js';
import type { NewJobRequest } from './entity-messages.js';
import type { Tuning } from './messages.js';
import { closedFromOutside, isStillThere, SILENT_JOB_MS } from './running-job.js';
import { startJob } from './start-job.js';
import { until, untilOrAfter } from './wait.js';

export interface DrilledEntity {
  item(): ProtectedItem;
  over(): boolean;
  on(event: ItemEvent): void;
  enqueue(kind: JobKind, request: NewJobRequest): void;
  jobEnded(jobId: string, result: JobOutcome): void;
  readonly tuning: Tuning | undefined;
}

type DrillJob = NonNullable<NonNullable<ProtectedItem['drill']>['job']>;

export class DrillJobs {
  /** A job has been told to the item and is being started: the entity must not continue as new before it exists. */
  isStarting = false;

  constructor(private readonly entity: DrilledEntity) {}

  async run(): Promise<void> {
    const { item, over } = this.entity;
    for (;;) {
      await until(() => over() || item().drill !== undefined);
      const { drill } = item();
      if (over()) return;
      if (drill?.requested) await this.#start(drill.requested);
      else if (drill?.job) await this.#watch(drill.job);
      else if (drill) await this.#untilOver(drill);
    }
  }

  async #start(request: JobRequest): Promise<void> {
    const { item, on, tuning } = this.entity;
    this.isStarting = true;
    const before = item();
    // This comes before the child exists and can signal, so that each of its signals finds the job here.
    on({ type: 'jobStarted', jobId: request.jobId, at: now() });
    await startJob(before, request, tuning);
    this.isStarting = false;
  }

  async #watch({ jobId }: DrillJob): Promise<void> {
    const { item, over, jobEnded } = this.entity;
    const isGone = () => item().drill?.job?.jobId !== jobId;
    if (await untilOrAfter(() => over() || isGone(), SILENT_JOB_MS, 'Check for news of the test failover')) return;
    const { job } = item().drill!;
    if (nowMs() - toMs(job!.heardAt) < SILENT_JOB_MS) return;
    if ((await isStillThere(jobId)) || isGone()) return;
    log.error('A job of a test failover was closed from outside', { job: jobId });
    jobEnded(jobId, closedFromOutside());
  }

  async #untilOver(drill: NonNullable<ProtectedItem['drill']>): Promise<void> {
    const { item, over, enqueue } = this.entity;
    const { vm } = item();
    const isOther = () => over() || item().drill !== drill;
    const { cleanUpAt } = drill;
    if (cleanUpAt === undefined) return until(isOther);
    if (await untilOrAfter(isOther, toMs(cleanUpAt) - nowMs(), `Clean up the test failover of ${vm}`)) return;
    const notes = drill.problem === undefined ? 'its time was over' : 'the test failover ended early';
    enqueue('cleanupTestFailover', { requestId: `cleanup/${vm}/${now()}`, parameters: { notes } });
  }
}
