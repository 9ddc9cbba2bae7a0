/** `job list`, `job show` and `job cancel`. */
import { Command } from 'commander';
import { formatBytes } from '../../domain/bytes.js';
import { currentTask, expectedEnd, type Job } from '../../domain/job.js';
import { titleOf } from '../../domain/jobs/known-jobs.js';
import { formatSeconds, secondsBetween, toIso } from '../../domain/time.js';
import { RefusedError } from '../errors.js';
import { fields, table } from '../output.js';
import { cancelledFailoverResultOf, cancelledFailoverText } from './cancel-failover-report.js';
import { confirm } from './confirm.js';
import { saveEvidence } from './evidence.js';
import { failoverResultOf, failoverText } from './failover-report.js';
import { pointChangeResultOf, pointChangeText } from './point-change-report.js';
import { outputOf, withFarshore } from './place.js';
import { unplannedText } from './unplanned-failover.js';
import { positive } from './numbers.js';
import { waitingForStore } from './store-patience.js';
import { testFailoverResultOf, testFailoverText } from './test-failover.js';
import { verifyResultOf, verifyText } from './verify.js';
import { retryText } from './wait.js';

const DEFAULT_LIMIT = 20;
/** Width of the list's task column, characters. */
const TASK_WIDTH = 50;

export function jobCommand(): Command {
  const job = new Command('job')
    .summary('jobs, running and finished')
    .description('Every long-running operation on a VM is a job, with named tasks.');
  job
    .command('list')
    .summary('the newest jobs')
    .description('Lists jobs, the newest first. A job appears about a second after it began.')
    .option('--limit <n>', 'at most this many', positive, DEFAULT_LIMIT)
    .option('--vault', 'include jobs recorded in the vault that Temporal no longer has')
    .action(async ({ limit, vault = false }: { limit: number; vault?: boolean }, command: Command) => {
      await withFarshore(command, async (farshore, { site: { site } }) => {
        const { store } = site.vault;
        const { readJobRecords } = await import('../../local/local-vault.js');
        const jobs = await (vault ? waitingForStore(store, readJobRecords(store, limit)) : farshore.jobs(limit));
        outputOf(command).result('job list', { jobs }, jobs.length === 0 ? 'There are no jobs.' : jobTable(jobs));
      });
    });
  job
    .command('show')
    .summary('one job: tasks, progress, errors, result')
    .description('Shows a job: its tasks, progress, errors and result.')
    .argument('<id>', 'id of the job')
    .option('--save-evidence <folder>', 'of a test failover: write the console and the screen of its test VM there')
    .action(async (id: string, { saveEvidence: folder }: { saveEvidence?: string }, command: Command) => {
      await withFarshore(command, async (farshore, { site: { site } }) => {
        const found = await farshore.job(id).catch(async (error: unknown) => {
          if (!(error instanceof RefusedError)) throw error;
          // Temporal forgets old jobs, and its database may be lost; the vault keeps all records.
          const { store } = site.vault;
          const { readJobRecord } = await import('../../local/local-vault.js');
          const record = await waitingForStore(store, readJobRecord(store, id)).catch(() => undefined);
          if (!record) throw error;
          return record;
        });
        const saved = folder === undefined ? [] : await saveEvidence(site.vault.store, found, folder);
        const lines = saved.map((file) => `Saved: ${file}`);
        outputOf(command).result('job show', found, [jobText(found), ...lines].join('\n'));
      });
    });
  job
    .command('cancel')
    .summary('cancel a running job')
    .description(
      'Asks a running job to end. Its steps are undone where possible: a VM that was shut down for a failover is ' +
        'started again. If they can no longer be undone, the job runs to its end. Pressing Ctrl-C while a ' +
        'command waits does not cancel its job.',
    )
    .argument('<id>', 'id of the job')
    .option('--yes', 'do not ask for confirmation')
    .action(async (id: string, { yes }: { yes?: true }, command: Command) => {
      await withFarshore(command, async (farshore) => {
        const found = await farshore.job(id);
        if (found.state !== 'InProgress') throw new RefusedError(`${id} has already ended: ${found.state}`);
        await confirm(`Cancels ${titleOf(found.kind)} of ${found.vm}.`, yes);
        await farshore.cancelJob(id);
        outputOf(command).result(
          'job cancel',
          { jobId: id },
          `Cancelling: ${id}\nFollow it with: farshore job show ${id}`,
        );
      });
    });
  return job;
}

function jobTable(jobs: readonly Job[]): string {
  const rows = jobs.map((job) => [
    job.startedAt,
    job.vm,
    titleOf(job.kind),
    job.state,
    shortened(currentTask(job)?.name ?? job.failure?.message ?? ''),
    job.id,
  ]);
  return table(['STARTED', 'VM', 'JOB', 'STATE', 'TASK', 'ID'], rows);
}

/** `job show` prints the full text. */
const shortened = (text: string): string => (text.length > TASK_WIDTH ? `${text.slice(0, TASK_WIDTH - 1)}…` : text);

const sentText = ({ progress }: Job): string =>
  progress?.bytesSent === undefined ? '' : `, ${formatBytes(progress.bytesSent)} of it sent`;

function jobText(job: Job): string {
  const { progress, failure, endedAt, startedAt } = job;
  const head = fields([
    ['Job', `${titleOf(job.kind)} of ${job.vm} (${job.id})`],
    ['State', job.state],
    ['Started', startedAt],
    [
      'Ended',
      endedAt === undefined ? undefined : `${endedAt}, after ${formatSeconds(secondsBetween(startedAt, endedAt))}`,
    ],
    ['Plan run', job.planRun],
    ['Reason', job.reason],
    [
      'Progress',
      progress && `${formatBytes(progress.bytesDone)} of ${formatBytes(progress.bytesTotal)}${sentText(job)}`,
    ],
    ['Expected', job.state === 'InProgress' ? expectedEnd(job, toIso(Date.now())) : undefined],
    ['Holds', job.heldBefore === undefined ? undefined : `before "${job.heldBefore}", until the plan continues`],
    ['Failing', job.retry && `${retryText(job.retry)}\nRemedy: ${job.retry.failure.remedy}`],
    ['Failed', failure && `${failure.message}\nRemedy: ${failure.remedy}`],
  ]);
  const remarked = job.tasks.some(({ reason }) => reason !== undefined);
  const tasks = table(
    ['TASK', 'STATE', 'STARTED', 'ENDED', ...(remarked ? ['REMARK'] : [])],
    job.tasks.map(({ name, state, startedAt: from, endedAt: to, reason = '' }) => [
      name,
      state,
      from ?? '',
      to ?? '',
      ...(remarked ? [reason] : []),
    ]),
  );
  const failover = failoverResultOf(job.result);
  const verified = verifyResultOf(job);
  const unplanned = job.kind === 'unplannedFailover' ? unplannedText(job) : undefined;
  const changed = pointChangeResultOf(job);
  const cancelled = cancelledFailoverResultOf(job);
  const tested = testFailoverResultOf(job);
  const result = failover
    ? failoverText(job.vm, failover)
    : (unplanned ??
      (verified && verifyText(job.vm, verified)) ??
      (tested && testFailoverText(job.vm, tested)) ??
      (changed && pointChangeText(job.vm, changed)) ??
      (cancelled && cancelledFailoverText(job.vm, cancelled)));
  return [head, tasks, ...(result === undefined ? [] : [result])].join('\n\n');
}
