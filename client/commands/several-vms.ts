/**
 * Commands for several VMs. All VMs are checked before anything is started, and a request that was fulfilled before is
 * reported as done.
 */
import type { Command } from 'commander';
import type { Job } from '../../domain/job.js';
import type { JobKind } from '../../domain/jobs/known-jobs.js';
import type { ProtectedItemView } from '../../domain/item-view.js';
import type { Operation } from '../../domain/operations.js';
import type { JobAccepted } from '../../workflows/messages.js';
import { RefusedError } from '../errors.js';
import type { Farshore } from '../farshore.js';
import { Progress } from '../progress.js';
import type { DestructiveOptions } from './follow-request.js';
import { outputOf } from './place.js';
import { problemOf, throwProblems, waitForJob } from './wait.js';

/** The result of checking one VM of a command. */
export type Asked =
  | { readonly vm: string; readonly view: ProtectedItemView; readonly todo: 'start' }
  /** The same request was made before, and its job is running. */
  | { readonly vm: string; readonly view: ProtectedItemView; readonly todo: 'follow'; readonly jobId: string }
  /** The same request was made before, and is done. */
  | {
      readonly vm: string;
      readonly view: ProtectedItemView | undefined;
      readonly todo: 'nothing';
      readonly done: string;
    };

/**
 * Checks all named VMs before anything is started.
 * @param done says that the request has already been fulfilled, in a sentence without the VM's name; undefined if it
 * has not.
 * @throws RefusedError with every refusal; nothing is started then.
 */
export async function askAll(
  farshore: Farshore,
  names: readonly string[],
  kind: Operation & JobKind,
  done: (view: ProtectedItemView | undefined) => string | undefined,
): Promise<Asked[]> {
  const vms = [...new Set(names)];
  const found = await Promise.all(
    vms.map(async (vm): Promise<Asked | string> => {
      const view = await farshore.protectedItem(vm);
      const said = done(view);
      if (said !== undefined) return { vm, view, todo: 'nothing', done: said };
      if (!view) return `${vm}: the VM is not protected`;
      const same = [view.item.job, ...view.item.pending].find((job) => job?.kind === kind);
      if (same) return { vm, view, todo: 'follow', jobId: same.jobId };
      const permission = view.operations[kind];
      return permission.allowed ? { vm, view, todo: 'start' } : `${vm}: ${permission.reason}`;
    }),
  );
  const refusals = found.filter((each) => typeof each === 'string');
  if (refusals.length > 0)
    throw new RefusedError([...(vms.length > 1 ? ['nothing was started'] : []), ...refusals].join('\n'));
  return found.filter((each) => typeof each !== 'string');
}

/** The VMs for which a job must be started. */
export const toStart = (asked: readonly Asked[]) => asked.filter((each) => each.todo === 'start');

/**
 * Starts the missing jobs and reports the job of each VM; with --wait, follows them all and reports their outcomes.
 * @param name the command that answers.
 * @param start requests the job of one VM.
 * @throws JobFailedError
 */
export async function followAll(
  name: 'failover' | 'commit' | 'unprotect' | 'plan commit',
  command: Command,
  farshore: Farshore,
  asked: readonly Asked[],
  start: (vm: string) => Promise<JobAccepted>,
  { wait }: DestructiveOptions,
  successText: (vm: string, job: Job) => string,
): Promise<void> {
  const requested: { vm: string; jobId?: string; done?: string }[] = [];
  for (const one of asked) {
    const { vm } = one;
    if (one.todo === 'nothing') requested.push({ vm, done: one.done });
    else requested.push({ vm, jobId: one.todo === 'follow' ? one.jobId : (await start(vm)).jobId });
  }
  const output = outputOf(command);
  if (!wait) {
    const lines = requested.map(({ vm, jobId, done }) =>
      jobId === undefined ? `${vm}: ${done}` : `${vm}: started ${jobId}`,
    );
    const started = requested.flatMap(({ jobId }) => jobId ?? []);
    const hint =
      started.length === 0 ? [] : [`Follow it with: farshore job show ${started.length === 1 ? started[0] : 'JOB'}`];
    output.result(name, { vms: requested }, [...lines, ...hint].join('\n'));
    return;
  }
  const progress = new Progress();
  const ends = await Promise.all(
    requested.map(async ({ vm, jobId, done }) => ({
      vm,
      done,
      job: jobId === undefined ? undefined : await waitForJob(farshore, jobId, progress),
    })),
  );
  progress.close();
  output.result(
    name,
    { vms: ends.map(({ vm, done, job }) => (job ? { vm, jobId: job.id, job } : { vm, done })) },
    ends
      .map(({ vm, done, job }) => {
        if (!job) return `${vm}: ${done}`;
        return job.state === 'Succeeded' ? successText(vm, job) : `${job.id}: ${job.state}`;
      })
      .join('\n\n'),
  );
  throwProblems(ends.map(({ job }) => job && problemOf(job)));
}

/** For a VM that was already failed over. */
export function failedOver(view: ProtectedItemView | undefined): string | undefined {
  if (view?.item.phase === 'FailedOver') return 'it has already been failed over and runs at the recovery site';
  return view?.item.phase === 'Committed'
    ? 'it has already been failed over, and the failover is committed'
    : undefined;
}

/** For a VM whose failover was already committed. */
export const committed = (view: ProtectedItemView | undefined): string | undefined =>
  view?.item.phase !== 'Committed' || view.item.job?.kind === 'failback'
    ? undefined
    : view.item.activeSide === 'primary'
      ? 'its failback has already been committed'
      : 'its failover has already been committed';
