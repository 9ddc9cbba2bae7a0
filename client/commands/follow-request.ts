/** Reports the job that a command has requested. */
import type { Command } from 'commander';
import type { Job } from '../../domain/job.js';
import type { JobAccepted } from '../../workflows/messages.js';
import type { Farshore } from '../farshore.js';
import { Progress } from '../progress.js';
import { outputOf } from './place.js';
import { problemOf, throwProblems, waitForJob } from './wait.js';

/** Options of a command whose effect can't be undone. */
export interface DestructiveOptions {
  readonly wait?: true;
  readonly yes?: true;
}

/** Reports which job was started; with --wait, follows it and reports its outcome. @throws JobFailedError */
export async function followRequest(
  name:
    | 'verify'
    | 'resynchronize'
    | 'change-recovery-point'
    | 'cancel-failover'
    | 'test-failover'
    | 'cleanup-test-failover'
    | 'failback'
    | 'complete-failback'
    | 'cancel-failback'
    | 'reverse-replicate',
  vm: string,
  command: Command,
  farshore: Farshore,
  { jobId }: JobAccepted,
  { wait }: DestructiveOptions,
  successText: (job: Job) => string,
): Promise<void> {
  if (!wait) {
    outputOf(command).result(name, { vm, jobId }, `Started: ${jobId}\nFollow it with: farshore job show ${jobId}`);
    return;
  }
  const progress = new Progress();
  const job = await waitForJob(farshore, jobId, progress);
  progress.close();
  outputOf(command).result(
    name,
    { vm, jobId, job },
    job.state === 'Succeeded' ? successText(job) : `${job.id}: ${job.state}`,
  );
  throwProblems([problemOf(job)]);
}
