/** `plan run`, `plan list`, `plan show`, `plan cancel` and `plan commit`. */
import { Command } from 'commander';
import { waitsForPerson, type Job } from '../../domain/job.js';
import type { ProtectedItemView } from '../../domain/item-view.js';
import { planMachines } from '../../domain/plan.js';
import { loadPlan } from '../../config/site-file.js';
import type { PlanRun } from '../../domain/plan-run.js';
import { RefusedError } from '../errors.js';
import type { Farshore } from '../farshore.js';
import { hasEnded } from '../follow.js';
import { cancelPlanRun, planRunNamed } from '../plan-runs.js';
import { Progress } from '../progress.js';
import { note } from '../output.js';
import { confirm } from './confirm.js';
import { schemaCommand } from './site.js';
import { commitConsequences, failoverType } from './failover.js';
import { requirePrimarySide } from './primary-side.js';
import { askAll, committed, followAll, toStart } from './several-vms.js';
import { planRunTable, planRunText } from './plan-report.js';
import { outputOf, withFarshore } from './place.js';
import { positive } from './numbers.js';
import { standstill, throwProblems, untilInterrupted } from './wait.js';

interface PlanOptions {
  readonly wait?: true;
  readonly yes?: true;
}

const RUNS_LISTED = 20;
/** How a command names a run. */
const RUN = 'id of the run, or name of a plan for its newest run';

/** How often the server is asked for jobs that wait for an operator, ms; its list lags behind anyway. */
const STANDSTILL_CHECK_MS = 5_000;

export function planCommand(): Command {
  const plan = new Command('plan')
    .summary('recovery plans: several VMs, in order')
    .description('A recovery plan is a file that says which VMs fail over together and in which order they start.');
  plan
    .command('run')
    .summary('fail over the VMs of a plan')
    .description(
      'Planned failover of all VMs of a plan. Starts nothing unless the file is valid and every VM may fail over ' +
        'now. Then checks the prerequisites of all VMs, shuts them down (the last group first), sends their last ' +
        'changes in parallel, and starts them group by group. An error before the first shutdown changes nothing.',
    )
    .argument('<file>', 'the plan (YAML); examples/plan.yaml explains it')
    .addOption(failoverType())
    .option('--wait', 'return once the run has ended')
    .option('--yes', 'do not ask for confirmation')
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
        outputOf(command).result(
          'plan list',
          { planRuns: runs },
          runs.length === 0 ? 'There are no plan runs.' : planRunTable(runs),
        );
      });
    });
  plan
    .command('show')
    .summary('the state of a run')
    .description('Shows a plan run: the progress of each stage and VM, and the results of the failovers.')
    .argument('<run>', RUN)
    .action(async (name: string, _options: object, command: Command) => {
      await withFarshore(command, async (farshore) => {
        const run = await planRunNamed(farshore, name);
        const ids = run.machines.flatMap(({ jobId }) => (jobId === undefined ? [] : [jobId]));
        const jobs = await Promise.all(ids.map((jobId) => farshore.job(jobId).catch(notStartedYet)));
        outputOf(command).result(
          'plan show',
          run,
          planRunText(
            run,
            jobs.filter((job) => job !== undefined),
          ),
        );
      });
    });
  plan
    .command('cancel')
    .summary('cancel a run')
    .description(
      'Asks a run to end. Its failovers are undone where possible: a VM that was shut down is started again. A ' +
        'failover that can no longer be undone runs to its end, and its VM runs at the recovery site.',
    )
    .argument('<run>', RUN)
    .option('--wait', 'return once the run has ended')
    .option('--yes', 'do not ask for confirmation')
    .action(cancelPlan);
  plan
    .command('commit')
    .summary('make the failovers of a run permanent')
    .description(
      'Commits the failover of every VM that failed over in a plan run. Has no effect on VMs that are already ' +
        'committed.',
    )
    .argument('<run>', RUN)
    .option('--wait', 'return once all are committed')
    .option('--yes', 'do not ask for confirmation')
    .action(commitPlan);
  return plan;
}

/** An accepted job begins when its VM has finished the current cycle. */
function notStartedYet(error: unknown): undefined {
  if (!(error instanceof RefusedError)) throw error;
}

async function runPlan(file: string, options: PlanOptions & { type: 'planned' }, command: Command): Promise<void> {
  await withFarshore(command, async (farshore, place) => {
    const plan = await loadPlan(file, farshore.site);
    const vms = planMachines(plan);
    const views = await Promise.all(vms.map(async (vm) => ({ vm, view: await farshore.protectedItem(vm) })));
    throwRefusals(views.map(({ vm, view }) => refusalOf(vm, view)));
    await requirePrimarySide(
      farshore,
      place,
      views.flatMap(({ vm, view }) => (view ? [{ vm, view }] : [])),
    );
    await confirm(
      `Plan ${plan.name}: ${vms.join(', ')} will be shut down at the primary site, their last changes will be sent, and they\n` +
        `will run at the recovery site, started in this order: ${plan.groups.map((group) => group.name).join(', ')}.`,
      options.yes,
    );
    const id = await farshore.runPlan(plan, options.type);
    if (!options.wait) {
      outputOf(command).result('plan run', { planRun: id }, `Started: ${id}\nFollow it with: farshore plan show ${id}`);
      return;
    }
    const { run, standing } = await untilInterrupted(id, `plan show ${id}`, () => {
      note(`Started ${id}. It keeps running if you press Ctrl-C; follow it with: farshore plan show ${id}`);
      return waitForRun(farshore, id);
    });
    const next = run.state === 'Succeeded' ? `\nNext: farshore plan commit ${id}` : '';
    outputOf(command).result('plan run', { planRun: id, run }, `${planRunText(run, [])}${next}`);
    const still = standing.map((job) => standstill(`the failover of ${job.vm}`, job.vm, job.retry));
    throwProblems(still.length > 0 ? still : [runProblem(run)]);
  });
}

function refusalOf(vm: string, view: ProtectedItemView | undefined): string | undefined {
  if (!view) return `${vm}: the VM is not protected`;
  const permission = view.operations.plannedFailover;
  return permission.allowed ? undefined : `${vm}: ${permission.reason}`;
}

function throwRefusals(refusals: readonly (string | undefined)[]): void {
  const found = refusals.filter((refusal) => refusal !== undefined);
  if (found.length > 0) throw new RefusedError(`nothing was started\n${found.join('\n')}`);
}

/** @returns the run, and its jobs that wait for an operator; resolves when the run has ended or there are such jobs. */
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
  // Otherwise the next command could meet a VM that still believes that it is busy.
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

async function cancelPlan(name: string, options: PlanOptions, command: Command): Promise<void> {
  await withFarshore(command, async (farshore) => {
    const run = await planRunNamed(farshore, name);
    const { id } = run;
    if (hasEnded(run)) throw new RefusedError(`the run ${id} has already ended: ${run.state}`);
    await confirm(`Cancels the run ${id} (${run.phase}) and undoes its failovers where possible.`, options.yes);
    await cancelPlanRun(farshore, run);
    if (!options.wait) {
      outputOf(command).result(
        'plan cancel',
        { planRun: id },
        `Cancelling: ${id}\nFollow it with: farshore plan show ${id}`,
      );
      return;
    }
    const progress = new Progress();
    const ended = await untilInterrupted(`the undoing of ${id}`, `plan show ${id}`, () =>
      farshore.followPlanRun(id, (news) => showRun(news, progress)),
    );
    progress.close();
    outputOf(command).result('plan cancel', { planRun: id, run: ended }, planRunText(ended, []));
  });
}

async function commitPlan(name: string, options: PlanOptions, command: Command): Promise<void> {
  await withFarshore(command, async (farshore) => {
    const run = await planRunNamed(farshore, name);
    const { id } = run;
    if (!hasEnded(run))
      throw new RefusedError(`the run ${id} is still in progress (${run.phase}); commit it once it has ended`);
    const vms = run.machines.filter(({ state }) => state === 'Succeeded').map(({ vm }) => vm);
    if (vms.length === 0) throw new RefusedError(`nothing to commit: no VM was failed over in the run ${id}`);
    const asked = await askAll(farshore, vms, 'commitFailover', committed);
    const starting = toStart(asked).map(({ vm }) => vm);
    if (starting.length > 0) await confirm(commitConsequences(starting), options.yes);
    const start = (vm: string) => farshore.startJob(vm, 'commitFailover');
    await followAll(
      'plan commit',
      command,
      farshore,
      asked,
      start,
      options,
      (vm) => `${vm}: the failover is committed`,
    );
  });
}
