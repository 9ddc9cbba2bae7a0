/** `--wait`: follows an operation until it has ended, or until it waits for an operator. */
import { currentTask, waitsForPerson, type Job, type RetryState } from '../../domain/job.js';
import { titleOf } from '../../domain/jobs/known-jobs.js';
import { nextTryText } from '../../domain/next-try.js';
import type { ProtectedItem } from '../../domain/protected-item.js';
import { toIso } from '../../domain/time.js';
import { JobFailedError } from '../errors.js';
import type { Farshore } from '../farshore.js';
import { note } from '../output.js';
import type { Progress, Step } from '../progress.js';

/** The usual exit code of a command that was interrupted. */
const INTERRUPTED = 130;

/** The operations that are being waited for, each with the command that shows it. */
const awaited = new Map<string, string>();

function letGo(): never {
  note('');
  for (const [what, shownBy] of awaited) note(`${what} continues. Follow it with: farshore ${shownBy}`);
  process.exit(INTERRUPTED);
}

/**
 * Runs a wait. If it is interrupted, the command ends and names the work that continues.
 * @param shownBy the command that shows that work.
 */
export async function untilInterrupted<T>(what: string, shownBy: string, wait: () => Promise<T>): Promise<T> {
  if (awaited.size === 0) process.on('SIGINT', letGo);
  awaited.set(what, shownBy);
  try {
    return await wait();
  } finally {
    awaited.delete(what);
    if (awaited.size === 0) process.removeListener('SIGINT', letGo);
  }
}

/** @returns the job once it has ended and its VM knows that, or once it waits for an operator. */
export async function waitForJob(farshore: Farshore, id: string, progress: Progress): Promise<Job> {
  return untilInterrupted(id, `job show ${id}`, async () => {
    const job = await farshore.followJob(
      id,
      (news) => progress.update(news.vm, stepOfJob(news)),
      (news) => news.state !== 'InProgress' || waitsForPerson(news),
    );
    // Otherwise the next command could meet a VM that still believes that it is busy.
    if (job.state !== 'InProgress') await farshore.followVm(job.vm, (view) => !isBusyWith(view?.item, id));
    return job;
  });
}

const isBusyWith = (item: ProtectedItem | undefined, jobId: string): boolean =>
  item?.job?.jobId === jobId || item?.drill?.job?.jobId === jobId;

function stepOfJob(job: Job): Step {
  const task = currentTask(job)?.name;
  const held = job.heldBefore === undefined ? undefined : `held before "${job.heldBefore}" until the plan continues`;
  const name = `${titleOf(job.kind)}${job.state === 'InProgress' ? '' : ` ${job.state.toLowerCase()}`}`;
  return {
    name: task === undefined || task === titleOf(job.kind) ? name : `${name}: ${task}`,
    bytes: job.state === 'InProgress' ? job.progress : undefined,
    ...(held === undefined ? retryRemark(job.retry) : { remark: held }),
  };
}

/** As a remark on a step: not printed again for every second of its countdown. */
export const retryRemark = (retry: RetryState | undefined): Pick<Step, 'remark' | 'remarkOf'> =>
  retry ? { remark: retryText(retry), remarkOf: `${retry.attempt} ${retry.nextTryAt} ${retry.failure.message}` } : {};

export const retryText = ({ failure, attempt, nextTryAt }: RetryState): string =>
  nextTryAt === undefined
    ? `waits for an operator: ${failure.message}`
    : `attempt ${attempt} failed, ${nextTryText(nextTryAt, toIso(Date.now()))}: ${failure.message}`;

/** Why a job did not succeed; undefined if it did. */
export function problemOf(job: Job): string | undefined {
  const what = `${titleOf(job.kind)} of ${job.vm}`;
  if (job.state === 'Succeeded') return undefined;
  if (job.state === 'Cancelled') return `${what} was cancelled (${job.id})`;
  if (job.state === 'Failed') {
    return `${what} failed (${job.id}): ${job.failure?.message ?? 'no reason given'}${job.failure ? `\n  Remedy: ${job.failure.remedy}` : ''}`;
  }
  return standstill(what, job.vm, job.retry);
}

export function standstill(what: string, vm: string, retry: RetryState | undefined): string {
  const remedy = retry ? `\n  Remedy: ${retry.failure.remedy} Then: farshore retry ${vm}` : '';
  return `${what} waits for an operator: ${retry?.failure.message ?? 'see its job'}${remedy}`;
}

/** @throws JobFailedError with all problems. */
export function throwProblems(problems: readonly (string | undefined)[]): void {
  const found = problems.filter((problem) => problem !== undefined);
  if (found.length > 0) throw new JobFailedError(found.join('\n'));
}
