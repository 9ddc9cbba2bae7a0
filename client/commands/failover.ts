/** `failover` and `commit` of one VM. */
import { Command, Option } from 'commander';
import type { Job } from '../../domain/job.js';
import type { Operation } from '../../domain/operations.js';
import type { JobAccepted } from '../../workflows/messages.js';
import { RefusedError } from '../errors.js';
import type { Farshore } from '../farshore.js';
import { Progress } from '../progress.js';
import { confirm } from './confirm.js';
import { failoverResultOf, failoverText } from './failover-report.js';
import { outputOf, withFarshore } from './place.js';
import { problemOf, throwProblems, waitForJob } from './wait.js';

interface DestructiveOptions {
  readonly wait?: true;
  readonly yes?: true;
}

/** Only planned failovers can be asked for. */
export const failoverType = (): Option =>
  new Option('--type <type>', 'planned: the VMs are shut down first, and nothing is lost')
    .choices(['planned'])
    .makeOptionMandatory();

export function failoverCommand(): Command {
  return new Command('failover')
    .summary('let one VM run at the recovery side')
    .description(
      'Planned failover of one VM: it is shut down at the primary site, its last changes are sent, and its replica VM is\n' +
        'started at the recovery side. Nothing is lost: the last write of each disk must have arrived, or the failover ends\n' +
        'and the VM runs on where it was. Several VMs, in an order: `farshore plan run`.',
    )
    .argument('<vm>', 'name of the VM')
    .addOption(failoverType())
    .option('--wait', 'return once the replica VM runs, with the numbers that prove that nothing was lost')
    .option('--yes', 'do not ask')
    .addHelpText('after', '\nExample:\n  farshore failover db-01 --type planned --wait')
    .action(async (vm: string, options: DestructiveOptions, command: Command) => {
      await withFarshore(command, async (farshore) => {
        await requireAllowed(farshore, vm, 'plannedFailover');
        const { host } = farshore.siteVm(vm);
        await confirm(
          `${vm} will be shut down on host ${host}, its last changes will be sent, and it will run at the recovery side.\n` +
            'It is not replicated back from there.',
          options.yes,
        );
        await runJob(command, farshore, await farshore.startJob(vm, 'plannedFailover'), options, (job) => {
          const result = failoverResultOf(job.result);
          return `${result ? failoverText(vm, result) : `${vm}: ${job.state}`}\nNext: farshore commit ${vm}`;
        });
      });
    });
}

export function commitCommand(): Command {
  return new Command('commit')
    .summary('settle a failover of one VM')
    .description(
      'Commits a failover: the replica VM is kept as it runs, and all recovery points but the one it runs\nfrom are deleted.',
    )
    .argument('<vm>', 'name of the VM')
    .option('--wait', 'return once it is committed')
    .option('--yes', 'do not ask')
    .action(async (vm: string, options: DestructiveOptions, command: Command) => {
      await withFarshore(command, async (farshore) => {
        await requireAllowed(farshore, vm, 'commitFailover');
        await confirm(commitConsequences([vm]), options.yes);
        await runJob(
          command,
          farshore,
          await farshore.startJob(vm, 'commitFailover'),
          options,
          () => `${vm}: the failover is committed`,
        );
      });
    });
}

export const commitConsequences = (vms: readonly string[]): string =>
  `The recovery points of ${vms.join(', ')} will be deleted, but for those they run from; there is no way back to another point then.`;

/** @throws RefusedError before anybody is asked to confirm. */
export async function requireAllowed(farshore: Farshore, vm: string, operation: Operation): Promise<void> {
  const reason = await refusalOf(farshore, vm, operation);
  if (reason !== undefined) throw new RefusedError(reason);
}

/** Why the VM does not allow it now; undefined when it does. */
export async function refusalOf(farshore: Farshore, vm: string, operation: Operation): Promise<string | undefined> {
  const view = await farshore.protectedItem(vm);
  if (!view) return `${vm}: the VM is not protected`;
  const permission = view.operations[operation];
  return permission.allowed ? undefined : `${vm}: ${permission.reason}`;
}

/** Reports a job that was accepted; with `wait`, once it has ended. @throws JobFailedError */
export async function runJob(
  command: Command,
  farshore: Farshore,
  { jobId }: JobAccepted,
  { wait }: DestructiveOptions,
  successText: (job: Job) => string,
): Promise<void> {
  if (!wait) {
    outputOf(command).result({ jobId }, `Started: ${jobId}\nFollow it with: farshore job show ${jobId}`);
    return;
  }
  const progress = new Progress();
  const job = await waitForJob(farshore, jobId, progress);
  progress.close();
  outputOf(command).result(job, job.state === 'Succeeded' ? successText(job) : `${job.id}: ${job.state}`);
  throwProblems([problemOf(job)]);
}
