/** `change-recovery-point`. */
import { Command } from 'commander';
import type { ProtectedItemView } from '../../domain/item-view.js';
import type { JobPreview } from '../../domain/job-preview.js';
import { confirmByName } from './confirm.js';
import { followRequest } from './follow-request.js';
import { outputOf, withFarshore } from './place.js';
import { pointChangeConsequences, pointChangeResultOf, pointChangeText } from './point-change-report.js';
import { reasonOption } from './reason.js';
import { dryRunText, refuseBlocked, type PreviewedOptions } from './previewed-job.js';

interface ChangeOptions extends PreviewedOptions {
  readonly recoveryPoint: string;
}

export function changeRecoveryPointCommand(): Command {
  return new Command('change-recovery-point')
    .summary('run a failed-over VM from another recovery point')
    .description(
      'Between a failover and its commit: turns the replica VM off, deletes it, and creates and starts it again from ' +
        'another recovery point. Everything written at the recovery site since the failover is discarded. First names ' +
        "what that is and what the other point loses or gains, and asks you to type the VM's name. The point that the " +
        'VM runs from may be chosen too: the VM then starts again from there.',
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
      const { recoveryPoint, reason } = options;
      await withFarshore(command, async (farshore) => {
        const running = sameJob(await farshore.protectedItem(vm), recoveryPoint);
        const follow = (jobId: string) =>
          followRequest('change-recovery-point', vm, command, farshore, { jobId }, options, (job) => {
            const result = pointChangeResultOf(job);
            return result ? pointChangeText(vm, result) : `${vm}: ${job.state}`;
          });
        if (running !== undefined && !options.dryRun) return await follow(running);
        const preview = await farshore.previewJob(vm, 'changeRecoveryPoint', { recoveryPoint });
        const { pointChange } = preview;
        const consequences = pointChange && pointChangeConsequences(vm, pointChange);
        if (options.dryRun) {
          outputOf(command).result(
            'change-recovery-point',
            { vm, dryRun: true, ...valueOf(preview) },
            dryRunText(vm, preview, consequences),
          );
        }
        refuseBlocked(vm, preview);
        if (options.dryRun) return;
        await confirmByName(consequences ?? '', vm, options.yes);
        await follow((await farshore.changeRecoveryPoint(vm, recoveryPoint, reason)).jobId);
      });
    });
}

/** The same request was made before, and its job is running or waiting. */
const sameJob = (view: ProtectedItemView | undefined, recoveryPoint: string): string | undefined =>
  [view?.item.job, ...(view?.item.pending ?? [])].find(
    (job) => job?.kind === 'changeRecoveryPoint' && job.parameters?.recoveryPoint === recoveryPoint,
  )?.jobId;

function valueOf({ blockers, pointChange }: JobPreview) {
  if (!pointChange) return { blockers };
  const { epoch: _, ...change } = pointChange;
  return { blockers, pointChange: change };
}
