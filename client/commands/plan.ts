/** `plan run`, `plan list`, `plan show` and `plan commit`. */
import { Command } from 'commander';
import { waitsForPerson, type Job } from '../../domain/job.js';
import { planMachines } from '../../domain/plan.js';
import { loadPlan } from '../../workers/site-file.js';
import type { PlanRun } from '../../workflows/messages.js';
import { RefusedError } from '../errors.js';
import type { Farshore } from '../farshore.js';
import { Progress } from '../progress.js';
import { note } from '../output.js';
import { confirm } from './confirm.js';
import { schemaCommand } from './site.js';
import { commitConsequences, failoverType, refusalOf } from './failover.js';
import { planRunTable, planRunText } from './plan-report.js';
import { outputOf, withFarshore } from './place.js';
import { positive } from './numbers.js';
import { problemOf, standstill, throwProblems, waitForJob } from './wait.js';

interface PlanOptions {
  readonly wait?: true;
  readonly yes?: true;
}

const RUNS_LISTED = 20;

/** The server's list of jobs that stand still is asked this often, ms: it lags behind anyway. */
const STANDSTILL_CHECK_MS = 5_000;

export function planCommand(): Command {
  const plan = new Command('plan')
    .summary('recovery plans: several VMs, in an order')
    .description('Recovery plans: files that say which VMs fail over together, and in which order they start.');
  plan
    .command('run')
    .summary('fail over the VMs of a plan')
    .description(
      'Planned failover of all VMs of a plan: prerequisites of all first; then they are shut down, the last group first;\n' +
        'their last changes are sent in parallel; they start group by group. An error before the first shutdown changes\n' +
        'nothing. The file is checked, and every VM is asked whether it may fail over now, before anything is started.',
    )
    .argument('<file>', 'the plan, YAML; examples/plan.yaml explains it')
    .addOption(failoverType())
    .option('--wait', 'return once the run has ended')
    .option('--yes', 'do not ask')
    .action(runPlan);
  plan.addCommand(schemaCommand('plan', 'recovery plans'));
  plan
    .command('list')
    .summary('the newest runs')
    .description('Lists plan runs, the newest first. A run appears about a second after it began.')
    .option('--limit <n>', 'at most this many', positive, RUNS_LISTED)
    .action(async ({ limit }: { limit: number }, command: Command) => {
      await withFarshore(command, async (farshore) => {
        const runs = await farshore.planRuns(limit);
        outputOf(command).result(runs, runs.length === 0 ? 'There are no plan runs.' : planRunTable(runs));
      });
    });
  plan
    .command('show')
    .summary('how a run stands or ended')
    .description('Shows a plan run: where each VM stands, and the numbers of those that have failed over.')
    .argument('<run>', 'id of the run')
    .action(async (id: string, _options: object, command: Command) => {
      await withFarshore(command, async (farshore) => {
        const run = await farshore.planRun(id);
        const ids = run.machines.flatMap(({ jobId }) => (jobId === undefined ? [] : [jobId]));
        const jobs = await Promise.all(ids.map((jobId) => farshore.job(jobId).catch(notStartedYet)));
        outputOf(command).result(
          run,
          planRunText(
            run,
            jobs.filter((job) => job !== undefined),
          ),
        );
      });
    });
  plan
    .command('commit')
    .summary('settle the failovers of a run')
    .description(
      'Commits the failover of every VM that failed over in a plan run. VMs that are committed already stay so.',
    )
    .argument('<run>', 'id of the run')
    .option('--wait', 'return once all are committed')
    .option('--yes', 'do not ask')
    .action(commitPlan);
  return plan;
}

/** An accepted job begins when its VM has ended the cycle it is in. */
function notStartedYet(error: unknown): undefined {
  if (!(error instanceof RefusedError)) throw error;
}

async function runPlan(file: string, options: PlanOptions & { type: 'planned' }, command: Command): Promise<void> {
  await withFarshore(command, async (farshore) => {
    const plan = await loadPlan(file, farshore.site);
    const vms = planMachines(plan);
    const refusals = await Promise.all(vms.map((vm) => refusalOf(farshore, vm, 'plannedFailover')));
    throwRefusals(refusals);
    await confirm(
      `Plan ${plan.name}: ${vms.join(', ')} will be shut down at the primary site, their last changes will be sent, and they\n` +
        `will run at the recovery side, started in this order: ${plan.groups.map((group) => group.name).join(', ')}.`,
      options.yes,
    );
    const id = await farshore.runPlan(plan, options.type);
    if (!options.wait) {
      outputOf(command).result({ id }, `Started: ${id}\nFollow it with: farshore plan show ${id}`);
      return;
    }
    note(`${id} runs. It goes on when this command ends: farshore plan show ${id}`);
    const { run, standing } = await waitForRun(farshore, id);
    const next = run.state === 'Succeeded' ? `\nNext: farshore plan commit ${id}` : '';
    outputOf(command).result(run, `${planRunText(run, [])}${next}`);
    const still = standing.map((job) => standstill(`the failover of ${job.vm}`, job.vm, job.retry));
    throwProblems(still.length > 0 ? still : [runProblem(run)]);
  });
}

function throwRefusals(refusals: readonly (string | undefined)[]): void {
  const found = refusals.filter((refusal) => refusal !== undefined);
  if (found.length > 0) throw new RefusedError(`nothing was started\n${found.join('\n')}`);
}

/** @returns the run when it has ended, or when machines of it wait for an administrator. */
async function waitForRun(farshore: Farshore, id: string): Promise<{ run: PlanRun; standing: readonly Job[] }> {
  const progress = new Progress();
  let standing: readonly Job[] = [];
  let nextCheck = performance.now() + STANDSTILL_CHECK_MS;
  const run = await farshore.followPlanRun(
    id,
    (news) => showRun(news, progress),
    async (news) => {
      if (news.state !== 'InProgress') return true;
      if (performance.now() < nextCheck) return false;
      standing = (await farshore.jobsWaitingForPerson(id)).filter(waitsForPerson);
      nextCheck = performance.now() + STANDSTILL_CHECK_MS;
      return standing.length > 0;
    },
  );
  // Else the next command could meet a VM that still believes it is busy.
  const done = run.state === 'InProgress' ? [] : run.machines;
  await Promise.all(
    done.map(({ vm, jobId }) =>
      farshore.followVm(vm, (view) => jobId === undefined || view?.item.job?.jobId !== jobId),
    ),
  );
  progress.close();
  return { run, standing };
}

function showRun(run: PlanRun, progress: Progress): void {
  progress.update(run.plan.name, { name: run.phase });
  for (const { vm, state, heldBefore, reason } of run.machines) {
    progress.update(vm, { name: heldBefore === undefined ? state : `${state} before "${heldBefore}"`, remark: reason });
  }
}

function runProblem(run: PlanRun): string | undefined {
  if (run.state === 'Succeeded') return undefined;
  return `the run ${run.id} ${run.state === 'Cancelled' ? 'was cancelled' : 'failed'}: ${run.failure ?? 'no reason was given'}`;
}

async function commitPlan(id: string, options: PlanOptions, command: Command): Promise<void> {
  await withFarshore(command, async (farshore) => {
    const run = await farshore.planRun(id);
    if (run.state === 'InProgress') throw new RefusedError(`the run ${id} is still in progress (${run.phase})`);
    const vms = await uncommitted(farshore, run);
    throwRefusals(await Promise.all(vms.map((vm) => refusalOf(farshore, vm, 'commitFailover'))));
    await confirm(commitConsequences(vms), options.yes);
    const jobs: { vm: string; jobId: string }[] = [];
    for (const vm of vms) jobs.push({ vm, ...(await farshore.startJob(vm, 'commitFailover')) });
    if (!options.wait) {
      outputOf(command).result(jobs, jobs.map(({ vm, jobId }) => `${vm}: is being committed (${jobId})`).join('\n'));
      return;
    }
    const progress = new Progress();
    const ended = await Promise.all(jobs.map(({ jobId }) => waitForJob(farshore, jobId, progress)));
    progress.close();
    outputOf(command).result(ended, ended.map(({ vm, state }) => `${vm}: commit ${state.toLowerCase()}`).join('\n'));
    throwProblems(ended.map(problemOf));
  });
}

/** @throws RefusedError when the run leaves nothing to commit. */
async function uncommitted(farshore: Farshore, run: PlanRun): Promise<string[]> {
  const failedOver = run.machines.filter(({ state }) => state === 'Succeeded').map(({ vm }) => vm);
  const views = await Promise.all(failedOver.map(async (vm) => ({ vm, view: await farshore.protectedItem(vm) })));
  const open = views.filter(({ view }) => view?.item.phase !== 'Committed').map(({ vm }) => vm);
  if (open.length > 0) return open;
  const why = failedOver.length === 0 ? 'no VM failed over in it' : 'all its VMs are committed already';
  throw new RefusedError(`there is nothing to commit in the run ${run.id}: ${why}`);
}
