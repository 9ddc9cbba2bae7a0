/**
 * Counters of the workflows, through the SDK's meter. An event counts when it happens, not when a history is replayed.
 */
import { metricMeter } from '@temporalio/workflow';
import type { Job } from '../domain/job.js';
import type { ProtectedItem } from '../domain/protected-item.js';
import { toMs } from '../domain/time.js';
import { missedCycles } from '../domain/transitions.js';

/** Counts a cycle that was applied. @param item the state before the cycle. @param at ISO 8601. */
export function countCycle(item: ProtectedItem, at: string): void {
  const { vault, vm, host } = item;
  const tags = { vault, vm, host };
  metricMeter.createCounter('farshore_cycles', '', 'Replication cycles that were sent and applied').add(1, tags);
  // Adds 0 first: Prometheus does not see a rise in a series that begins with its first event.
  metricMeter
    .createCounter(
      'farshore_cycles_missed',
      '',
      'Cycles that were due while another was late; counted when that is done',
    )
    .add(missedCycles(item, at), tags);
}

const jobs = () => metricMeter.createCounter('farshore_jobs', '', 'Jobs that have ended, by their outcome');
const outcomes = { Succeeded: 'succeeded', Failed: 'failed', Cancelled: 'cancelled' } as const;

const tagsOf = ({ vault, vm, kind }: Job, outcome: string) => ({ vault, vm, kind, outcome });

/** Creates the counters of a job that begins: Prometheus has to see a series before it rises. */
export function expectJob(job: Job): void {
  for (const outcome of Object.values(outcomes)) jobs().add(0, tagsOf(job, outcome));
}

/** Does nothing while the job is in progress. */
export function countJob(job: Job): void {
  const { vault, kind, state, startedAt, endedAt } = job;
  if (endedAt === undefined || state === 'InProgress') return;
  const outcome = outcomes[state];
  jobs().add(1, tagsOf(job, outcome));
  metricMeter
    .createHistogram('farshore_job_duration', 'float', 'seconds', 'From the start of a job to its end')
    .record(Math.max(0, toMs(endedAt) - toMs(startedAt)) / 1000, { vault, kind, outcome });
}
