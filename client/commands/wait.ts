/** `--wait`: follows what was started until it has ended, or stands still until an administrator acts. */
import { currentTask, jobTitles, waitsForPerson, type Job, type RetryState } from '../../domain/job.js';
import { JobFailedError } from '../errors.js';
import type { Farshore } from '../farshore.js';
import { note } from '../output.js';
import type { Progress, Step } from '../progress.js';

/** What a shell says of a command that was interrupted. */
const INTERRUPTED = 130;

/** @returns the job when it has ended and its VM knows of it, or when it waits for an administrator. */
export async function waitForJob(farshore: Farshore, id: string, progress: Progress): Promise<Job> {
  const letGo = () => {
    note(`\n${id} goes on. Follow it with: farshore job show ${id}`);
    process.exit(INTERRUPTED);
  };
  process.once('SIGINT', letGo);
  const job = await farshore.followJob(
    id,
    (news) => progress.update(news.vm, stepOfJob(news)),
    (news) => news.state !== 'InProgress' || waitsForPerson(news),
  );
  process.removeListener('SIGINT', letGo);
  // Else the next command could meet a VM that still believes it is busy.
  if (job.state !== 'InProgress') await farshore.followVm(job.vm, (view) => view?.item.job?.jobId !== id);
  return job;
}

function stepOfJob(job: Job): Step {
  const task = currentTask(job)?.name;
  const held = job.heldBefore === undefined ? undefined : `holds before "${job.heldBefore}" until the plan goes on`;
  const name = `${jobTitles[job.kind]}${job.state === 'InProgress' ? '' : ` ${job.state.toLowerCase()}`}`;
  return {
    name: task === undefined || task === jobTitles[job.kind] ? name : `${name}: ${task}`,
    bytes: job.state === 'InProgress' ? job.progress : undefined,
    remark: held ?? (job.retry && retryText(job.retry)),
  };
}

export const retryText = ({ failure, attempt, nextTryAt }: RetryState): string =>
  nextTryAt === undefined
    ? `waits for an administrator: ${failure.message}`
    : `attempt ${attempt} failed, next try at ${nextTryAt}: ${failure.message}`;

/** What is wrong with a job that is no longer waited for; undefined when it has succeeded. */
export function problemOf(job: Job): string | undefined {
  const what = `${jobTitles[job.kind]} of ${job.vm}`;
  if (job.state === 'Succeeded') return undefined;
  if (job.state === 'Cancelled') return `${what} was cancelled (${job.id})`;
  if (job.state === 'Failed') {
    return `${what} failed (${job.id}): ${job.failure?.message ?? 'no reason was given'}${job.failure ? `\n  Remedy: ${job.failure.remedy}` : ''}`;
  }
  return standstill(what, job.vm, job.retry);
}

export function standstill(what: string, vm: string, retry: RetryState | undefined): string {
  const remedy = retry ? `\n  Remedy: ${retry.failure.remedy} Then: farshore retry ${vm}` : '';
  return `${what} waits for an administrator: ${retry?.failure.message ?? 'see its job'}${remedy}`;
}

/** @throws JobFailedError with all of them. */
export function throwProblems(problems: readonly (string | undefined)[]): void {
  const found = problems.filter((problem) => problem !== undefined);
  if (found.length > 0) throw new JobFailedError(found.join('\n'));
}
