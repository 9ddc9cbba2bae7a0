/** What every job workflow is made of: its input is checked, and its body runs in the frame of a job. */
import { ApplicationFailure, continueAsNew } from '@temporalio/workflow';
import type { Job, JobKind } from '../domain/job.js';
import { countJob, expectJob } from './counters.js';
import { JobRun, type JobSuccess } from './job-run.js';
import { jobInputSchema, type JobInput } from './messages.js';

/** Parses the input and runs the body as a job of this kind. */
export async function runJob<K extends JobKind>(
  raw: JobInput,
  kind: K,
  body: (run: JobRun<K>) => Promise<JobSuccess>,
): Promise<Job> {
  const parsed = jobInputSchema.safeParse(raw);
  if (!parsed.success)
    throw ApplicationFailure.nonRetryable(`the job's input is not valid: ${parsed.error.message}`, 'InvalidInput');
  const run = new JobRun(parsed.data, kind, (carried) => continueAsNew<(input: JobInput) => Promise<Job>>(carried));
  if (!parsed.data.carried) expectJob(run.job);
  try {
    return await run.run(body);
  } finally {
    countJob(run.job);
  }
}
