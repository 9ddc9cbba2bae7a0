/** What workflows count, through the SDK's meter: when it happens, and not again when a history is replayed. */
import { metricMeter } from '@temporalio/workflow';
import type { Job } from '../domain/job.js';
import type { ProtectedItem } from '../domain/protected-item.js';
import { toMs } from '../domain/time.js';
import { missedCycles } from '../domain/transitions.js';

/** A cycle that the replica holds. @param item as it was before that. @param at ISO 8601. */
export function countCycle(item: ProtectedItem, at: string): void {
  const { vault, vm, host } = item;
  const tags = { vault, vm, host };
  metricMeter.createCounter('farshore_cycles', '', 'Replication cycles that were sent and applied').add(1, tags);
  // None is counted too: a series that begins with its first one would not be seen to rise.
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

/** A job that begins: its outcomes have to be there before one of them rises. */
export function expectJob(job: Job): void {
  for (const outcome of Object.values(outcomes)) jobs().add(0, tagsOf(job, outcome));
}

/** Nothing while it goes on. */
export function countJob(job: Job): void {
  const { vault, kind, state, startedAt, endedAt } = job;
  if (endedAt === undefined || state === 'InProgress') return;
  const outcome = outcomes[state];
  jobs().add(1, tagsOf(job, outcome));
  metricMeter
    .createHistogram('farshore_job_duration', 'float', 'seconds', 'From the start of a job to its end')
    .record(Math.max(0, toMs(endedAt) - toMs(startedAt)) / 1000, { vault, kind, outcome });
}
