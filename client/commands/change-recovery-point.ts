/** `change-recovery-point`. */
import { Command } from 'commander';
import { pointChangeConsequences, pointChangeResultOf, pointChangeText } from './point-change-report.js';
import { runPreviewed, type PreviewedOptions } from './previewed-job.js';
import { reasonOf, reasonOption } from './reason.js';

interface ChangeOptions extends PreviewedOptions {
  readonly recoveryPoint: string;
}

export function changeRecoveryPointCommand(): Command {
  return new Command('change-recovery-point')
    .summary('run a failed-over VM from another recovery point')
    .description(
      'Between a failover and its commit: turns the replica VM off, deletes it, and creates and starts it again from ' +
        'another recovery point. Everything written at the recovery site since the failover is discarded. First says ' +
        "how much that is and which data the other point loses or gains, and asks you to type the VM's name. You can " +
        'also choose the point that the VM runs from: the VM then restarts from it.',
    )
    .argument('<vm>', 'name of the VM')
    .requiredOption(
      '--recovery-point <point>',
      'latest or latest-processed (the newest point), latest-app-consistent, or the id or name of a point',
    )
    .addOption(reasonOption())
    .option('--dry-run', 'print what would happen and everything that prevents it; change nothing')
    .option('--wait', 'return once the replica VM runs again')
    .option('--yes', 'do not ask for confirmation')
    .addHelpText(
      'after',
      '\nExample:\n  farshore change-recovery-point db-01 --recovery-point latest-app-consistent --wait',
    )
    .action(async (vm: string, options: ChangeOptions, command: Command) => {
      const { recoveryPoint } = options;
      await runPreviewed(vm, options, command, {
        name: 'change-recovery-point',
        kind: 'changeRecoveryPoint',
        parameters: { recoveryPoint, ...reasonOf(options) },
        isSame: (parameters) => parameters?.recoveryPoint === recoveryPoint,
        consequences: ({ pointChange }) => pointChange && pointChangeConsequences(vm, pointChange),
        successText: (job) => {
          const result = pointChangeResultOf(job);
          return result ? pointChangeText(vm, result) : `${vm}: ${job.state}`;
        },
      });
    });
}
