/** `failover` and `commit`. */
import { Command, InvalidArgumentError, Option } from 'commander';
import { hostSilence } from '../../domain/host-silence.js';
import type { ProtectedItemView } from '../../domain/item-view.js';
import type { Operation } from '../../domain/operations.js';
import { RefusedError } from '../errors.js';
import type { Farshore } from '../farshore.js';
import { failOverUnplanned, unplannedOnly, type FailoverOptions } from './unplanned-failover.js';
import { confirm } from './confirm.js';
import { failoverResultOf, failoverText, nextAfterFailover } from './failover-report.js';
import type { DestructiveOptions } from './follow-request.js';
import { requirePrimarySide } from './primary-side.js';
import { reasonOf, reasonOption, type ReasonOptions } from './reason.js';
import { askAll, committed, failedOver, followAll, toStart } from './several-vms.js';
import { withFarshore, type Place } from './place.js';

/** Plans run planned failovers only. */
export const failoverType = (): Option =>
  new Option('--type <type>', 'planned: the VMs are shut down first and nothing is lost')
    .argParser((type: string) => {
      if (type === 'planned') return type;
      throw new InvalidArgumentError(
        type === 'unplanned'
          ? 'A plan runs planned failovers only. Without the primary site: farshore failover VM... --type unplanned'
          : 'The one choice is planned.',
      );
    })
    .makeOptionMandatory();

export function failoverCommand(): Command {
  return new Command('failover')
    .summary('fail VMs over to the recovery site')
    .description(
      'Planned failover: shuts each VM down at the primary site, sends its last changes, and starts its replica ' +
        'VM at the recovery site. Nothing is lost: the last write of each disk must have arrived, or the failover ' +
        'ends and the VM keeps running where it was. Several VMs fail over in parallel; for an order, use ' +
        '`farshore plan run`.\n\n' +
        'Unplanned failover: starts the replica VMs from the vault, without the primary site. Changes that were ' +
        'not sent are lost. Cancels any running job of the VMs.',
    )
    .argument('<vm...>', 'names of VMs')
    .addOption(
      new Option(
        '--type <type>',
        'planned: the VMs are shut down first and nothing is lost; unplanned: the primary site is down',
      )
        .choices(['planned', 'unplanned'])
        .makeOptionMandatory(),
    )
    .option(
      '--recovery-point <point>',
      'unplanned: latest (everything received; the default), latest-processed, latest-app-consistent, or the id or name of a point',
    )
    .option('--try-shut-down', 'unplanned: first try to shut the source down and fetch its last changes')
    .addOption(reasonOption())
    .option('--wait', 'return once the replica VMs run, and report any data loss')
    .option('--yes', 'do not ask for confirmation')
    .option('--force', "unplanned: continue even if the host of a VM answers, without asking for the VM's name")
    .addHelpText(
      'after',
      '\nExamples:\n  farshore failover db-01 --type planned --wait\n' +
        '  farshore failover db-01 app-01 --type unplanned --recovery-point latest --yes --wait',
    )
    .action(async (vms: string[], options: FailoverOptions, command: Command) => {
      const stray = options.type === 'planned' ? unplannedOnly(options) : undefined;
      if (stray !== undefined)
        throw new RefusedError(`${stray} is only for --type unplanned: a planned failover loses nothing`);
      await withFarshore(command, (farshore, place) =>
        options.type === 'unplanned'
          ? failOverUnplanned(farshore, place, vms, options, command)
          : failOverPlanned(farshore, place, vms, options, command),
      );
    });
}

async function failOverPlanned(
  farshore: Farshore,
  place: Place,
  vms: readonly string[],
  options: FailoverOptions,
  command: Command,
): Promise<void> {
  await requirePrimarySide(farshore, place, await onSilentHosts(farshore, vms));
  const asked = await askAll(farshore, vms, 'plannedFailover', failedOver);
  const starting = toStart(asked);
  await requirePrimarySide(farshore, place, starting);
  if (starting.length > 0) await confirm(starting.map(plannedConsequences).join('\n'), options.yes);
  const start = (vm: string) => farshore.startJob(vm, 'plannedFailover', reasonOf(options));
  await followAll('failover', command, farshore, asked, start, options, (vm, job) => {
    const result = failoverResultOf(job.result);
    return `${result ? failoverText(vm, result) : `${vm}: ${job.state}`}\n${nextAfterFailover(vm)}`;
  });
}

/** VMs whose refusal is best explained by the current state of their hosts. */
async function onSilentHosts(farshore: Farshore, vms: readonly string[]) {
  const views = await Promise.all(vms.map(async (vm) => ({ vm, view: await farshore.protectedItem(vm) })));
  return views.flatMap(({ vm, view }) =>
    view?.item.phase === 'Protected' && !view.item.job && hostSilence(view.item) ? [{ vm, view }] : [],
  );
}

const plannedConsequences = ({ vm, view }: { vm: string; view: ProtectedItemView }): string =>
  `${vm} will be shut down on host ${view.item.host}, its last changes will be sent, and it will run at the recovery site.\n` +
  'It will not be protected there (no reverse replication).';

export function commitCommand(): Command {
  return new Command('commit')
    .summary('make failovers and failbacks permanent')
    .description(
      'Commits failovers: keeps each replica VM running and deletes all recovery points except the one it runs ' +
        'from. Has no effect on VMs that are already committed.\n\n' +
        'Commits failbacks: merges the changes into the original disks while the VM runs, and deletes the replica VM.',
    )
    .argument('<vm...>', 'names of VMs')
    .addOption(reasonOption())
    .option('--wait', 'return once they are committed')
    .option('--yes', 'do not ask for confirmation')
    .action(async (vms: string[], options: DestructiveOptions & ReasonOptions, command: Command) => {
      await withFarshore(command, async (farshore) => {
        const asked = await askAll(farshore, vms, 'commitFailover', committed);
        const starting = toStart(asked).map(({ vm }) => vm);
        const failedBack = toStart(asked).flatMap(({ vm, view }) => (view.item.phase === 'FailedBack' ? [vm] : []));
        const failedOver = starting.filter((vm) => !failedBack.includes(vm));
        const consequences = [
          ...(failedOver.length > 0 ? [commitConsequences(failedOver)] : []),
          ...(failedBack.length > 0 ? [failbackConsequences(failedBack)] : []),
        ];
        if (consequences.length > 0) await confirm(consequences.join('\n'), options.yes);
        const start = (vm: string) => farshore.startJob(vm, 'commitFailover', reasonOf(options));
        await followAll('commit', command, farshore, asked, start, options, (vm) =>
          failedBack.includes(vm)
            ? `${vm}: the failback is committed\nNext, to protect it again: farshore reverse-replicate ${vm} --wait`
            : `${vm}: the failover is committed`,
        );
      });
    });
}

export const commitConsequences = (vms: readonly string[]): string =>
  `Commits the failover of ${vms.join(', ')} and deletes all recovery points except the one each VM runs from. This cannot be undone.`;

const failbackConsequences = (vms: readonly string[]): string =>
  `Commits the failback of ${vms.join(', ')}: the changes are merged into the original disks, overwriting anything that the source wrote after its failover, and the replica VM at the recovery site is deleted. This cannot be undone.`;

/** @throws RefusedError before the operator is asked to confirm. */
export async function requireAllowed(farshore: Farshore, vm: string, operation: Operation): Promise<void> {
  const reason = await refusalOf(farshore, vm, operation);
  if (reason !== undefined) throw new RefusedError(reason);
}

/** Why the VM does not allow the operation now; undefined if it does. */
async function refusalOf(farshore: Farshore, vm: string, operation: Operation): Promise<string | undefined> {
  const view = await farshore.protectedItem(vm);
  if (!view) return `${vm}: the VM is not protected`;
  const permission = view.operations[operation];
  return permission.allowed ? undefined : `${vm}: ${permission.reason}`;
}
