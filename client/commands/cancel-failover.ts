/** `cancel-failover`. */
import { Command } from 'commander';
import {
  cancellationConsequences,
  cancelledFailoverResultOf,
  cancelledFailoverText,
} from './cancel-failover-report.js';
import { runPreviewed, type PreviewedOptions } from './previewed-job.js';
import { reasonOf, reasonOption } from './reason.js';

export function cancelFailoverCommand(): Command {
  return new Command('cancel-failover')
    .summary('run a failed-over VM at the primary site again')
    .description(
      'Between a failover and its commit: turns the replica VM off, starts the VM at the primary site as its source ' +
        'was left there, and deletes the replica VM. Everything written at the recovery site since the failover is ' +
        "discarded. First says how much that is, and asks you to type the VM's name. The VM is protected again; its " +
        'replica is compared with its source immediately. Needs the host, its hypervisor and its Provider; changes ' +
        'nothing if one of them does not answer.',
    )
    .argument('<vm>', 'name of the VM')
    .addOption(reasonOption())
    .option('--dry-run', 'print what would happen and everything that prevents it; change nothing')
    .option('--wait', 'return once the VM runs at the primary site')
    .option('--yes', 'do not ask for confirmation')
    .addHelpText('after', '\nExample:\n  farshore cancel-failover db-01 --reason "the host is back" --wait')
    .action(async (vm: string, options: PreviewedOptions, command: Command) => {
      await runPreviewed(vm, options, command, {
        name: 'cancel-failover',
        kind: 'cancelFailover',
        parameters: reasonOf(options),
        isSame: () => true,
        consequences: ({ cancellation }, item) => cancellation && cancellationConsequences(item, cancellation),
        successText: (job) => {
          const result = cancelledFailoverResultOf(job);
          return result ? cancelledFailoverText(vm, result) : `${vm}: ${job.state}`;
        },
      });
    });
}
