/** The body of every job workflow: checks the input, and runs the job in its frame. */
import { continueAsNew } from '@temporalio/workflow';
import type { Job } from '../domain/job.js';
import type { JobKind } from '../domain/jobs/known-jobs.js';
import { countJob, expectJob } from './counters.js';
import { JobRun, type JobSuccess } from './job-run.js';
import { jobInputSchema, type JobInput } from './messages.js';
import { startInput } from './start-input.js';

/** Parses the input and runs the body as a job of this kind. */
export async function runJob<K extends JobKind>(
  raw: JobInput,
  kind: K,
  body: (run: JobRun<K>) => Promise<JobSuccess>,
): Promise<Job> {
  const input = startInput(jobInputSchema, raw, raw?.carried);
  const run = new JobRun(input, kind, (carried) => continueAsNew<(input: JobInput) => Promise<Job>>(carried));
  if (!input.carried) expectJob(run.job);
  try {
    return await run.run(body);
  } finally {
    countJob(run.job);
  }
}
