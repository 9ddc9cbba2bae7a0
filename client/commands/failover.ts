/** `failover` and `commit` of one VM. */
import { Command, Option } from 'commander';
import type { Operation } from '../../domain/operations.js';
import { RefusedError } from '../errors.js';
import type { Farshore } from '../farshore.js';
import { failOverUnplanned, unplannedOnly, type FailoverOptions } from './unplanned-failover.js';
import { confirm } from './confirm.js';
import { failoverResultOf, failoverText } from './failover-report.js';
import { followRequest, type DestructiveOptions } from './follow-request.js';
import { withFarshore } from './place.js';

/** Plans run planned failovers only. */
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
        'and the VM runs on where it was. Several VMs, in an order: `farshore plan run`.\n' +
        'Unplanned failover: from what the vault holds, without the primary side. What was not sent is lost. It does not\n' +
        'wait for what runs: a running job of the VM is cancelled.',
    )
    .argument('<vm>', 'name of the VM')
    .addOption(
      new Option(
        '--type <type>',
        'planned: the VM is shut down first, nothing is lost; unplanned: the primary side is dead',
      )
        .choices(['planned', 'unplanned'])
        .makeOptionMandatory(),
    )
    .option(
      '--recovery-point <point>',
      'unplanned: latest (all that was received, the default), latest-processed, latest-app-consistent, or the id or name of a point',
    )
    .option('--try-shut-down', 'unplanned: try, for a while, to shut the source down and fetch its last changes')
    .option('--wait', 'return once the replica VM runs, with the numbers that say what was lost, if anything')
    .option('--yes', 'do not ask')
    .addHelpText(
      'after',
      '\nExamples:\n  farshore failover db-01 --type planned --wait\n' +
        '  farshore failover db-01 --type unplanned --recovery-point latest --yes --wait',
    )
    .action(async (vm: string, options: FailoverOptions, command: Command) => {
      const stray = options.type === 'planned' ? unplannedOnly(options) : undefined;
      if (stray !== undefined)
        throw new RefusedError(`${stray} is for --type unplanned: a planned failover loses nothing`);
      await withFarshore(command, async (farshore, { site, data }) => {
        if (options.type === 'unplanned') {
          const { LocalSite } = await import('../../workers/local-site.js');
          return failOverUnplanned(farshore, new LocalSite(site.site, data), vm, options, command);
        }
        await requireAllowed(farshore, vm, 'plannedFailover');
        const { host } = farshore.siteVm(vm);
        await confirm(
          `${vm} will be shut down on host ${host}, its last changes will be sent, and it will run at the recovery side.\n` +
            'It is not replicated back from there.',
          options.yes,
        );
        await followRequest(command, farshore, await farshore.startJob(vm, 'plannedFailover'), options, (job) => {
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
        await followRequest(
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
