/** `cancel-failback`. */
import { Command } from 'commander';
import { confirmByName } from './confirm.js';
import { requireAllowed } from './failover.js';
import { followRequest, type DestructiveOptions } from './follow-request.js';
import { withFarshore } from './place.js';
import { reasonOf, reasonOption, type ReasonOptions } from './reason.js';

interface Options extends DestructiveOptions, ReasonOptions {
  readonly primaryLost?: true;
}

export function cancelFailbackCommand(): Command {
  return new Command('cancel-failback')
    .summary('run a failed-back VM at the recovery site again')
    .description(
      'Between a failback and its commit: shuts the VM down at the primary site and starts its replica VM, with the ' +
        'state in which the failback shut it down. Everything written at the primary site since is discarded; the ' +
        'original disks are as they were before the failback. Changes nothing if the host does not answer.',
    )
    .argument('<vm>', 'name of the VM')
    .addOption(reasonOption())
    .option(
      '--primary-lost',
      'the primary site is lost: do not wait for it; the VM there is turned off and fenced once its Provider answers',
    )
    .option('--wait', 'return once the VM runs at the recovery site')
    .option('--yes', 'do not ask for confirmation')
    .action(async (vm: string, options: Options, command: Command) => {
      const { primaryLost, yes } = options;
      await withFarshore(command, async (farshore) => {
        await requireAllowed(farshore, vm, 'cancelFailback');
        await confirmByName(
          `${vm} will run at the recovery site again, as the failback shut it down there. Everything written at the primary site since is discarded.`,
          vm,
          yes,
        );
        const parameters = { ...reasonOf(options), ...(primaryLost && { primaryLost }) };
        const accepted = await farshore.startJob(vm, 'cancelFailback', parameters);
        await followRequest(
          'cancel-failback',
          vm,
          command,
          farshore,
          accepted,
          options,
          () => `${vm}: runs at the recovery site again`,
        );
      });
    });
}
