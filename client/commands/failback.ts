/** `failback`, `complete-failback` and `reverse-replicate`. */
import { Command, Option } from 'commander';
import { formatBytes } from '../../domain/bytes.js';
import { failbackResultSchema, type Job } from '../../domain/job.js';
import { formatSeconds } from '../../domain/time.js';
import type { FailbackPlan } from '../../domain/job-preview.js';
import { RefusedError } from '../errors.js';
import { fields } from '../output.js';
import type { Farshore } from '../farshore.js';
import { confirm } from './confirm.js';
import { requireAllowed } from './failover.js';
import { followRequest, type DestructiveOptions } from './follow-request.js';
import { outputOf, withFarshore } from './place.js';
import { dryRunText } from './previewed-job.js';
import { reasonOf, reasonOption, type ReasonOptions } from './reason.js';

interface FailbackOptions extends DestructiveOptions, ReasonOptions {
  readonly sync: 'before' | 'during';
  readonly dryRun?: true;
}

export function failbackCommand(): Command {
  return new Command('failback')
    .summary('bring a VM back to the primary site')
    .description(
      'Brings a VM that was failed over and committed back to its host at the primary site. Nothing is lost: what the ' +
        'VM has written at the recovery site is sent while it keeps running there, the rest when it has been shut down. ' +
        'Until `farshore commit`, the original disks stay as they were: the changes are in layers above them.\n\n' +
        'With --sync before, the VM keeps running at the recovery site, and changes keep being sent, until you run ' +
        '`farshore complete-failback`. To stop before that: farshore job cancel JOB.',
    )
    .argument('<vm>', 'name of the VM')
    .addOption(
      new Option(
        '--sync <when>',
        'before: wait for complete-failback before the VM is shut down; during: shut it down as soon as the changes have been sent',
      )
        .choices(['before', 'during'])
        .default('before'),
    )
    .addOption(reasonOption())
    .option('--dry-run', 'print what would happen and everything that prevents it; change nothing')
    .option('--wait', 'with --sync during: return once the VM runs at the primary site')
    .option('--yes', 'do not ask for confirmation')
    .addHelpText(
      'after',
      '\nExamples:\n  farshore failback db-01\n  farshore complete-failback db-01 --wait\n  farshore failback db-01 --sync during --yes --wait',
    )
    .action(async (vm: string, given: FailbackOptions, command: Command) => {
      const { sync, wait, yes } = given;
      await withFarshore(command, async (farshore) => {
        const preview = await farshore.previewJob(vm, 'failback');
        const { blockers, failback } = preview;
        const consequences = failback && failbackConsequences(vm, sync, failback);
        if (given.dryRun) {
          const answer = { vm, dryRun: true, ...preview } as const;
          outputOf(command).result('failback', answer, dryRunText(vm, blockers, consequences));
        }
        if (blockers.length > 0) {
          throw new RefusedError(['nothing was changed', ...blockers.map((blocker) => `${vm}: ${blocker}`)].join('\n'));
        }
        if (given.dryRun) return;
        if (sync === 'during') await confirm(consequences ?? '', yes);
        const accepted = await farshore.startJob(vm, 'failback', { synchronize: sync, ...reasonOf(given) });
        // Without `complete-failback`, the job would never end.
        const options = wait && sync === 'during' ? { wait } : {};
        await followRequest('failback', vm, command, farshore, accepted, options, (job) => failbackText(vm, job));
      });
    });
}

function failbackConsequences(vm: string, sync: FailbackOptions['sync'], { host, replicaVm }: FailbackPlan): string {
  const written = replicaVm.written.reduce((sum, { bytes }) => sum + bytes, 0);
  const then =
    sync === 'during'
      ? `Then it will be shut down at the recovery site, and started on host ${host}.`
      : `It keeps running at the recovery site until: farshore complete-failback ${vm}`;
  return [
    `What ${vm} has written at the recovery site (at most ${formatBytes(written)}) will be sent to host ${host}; more, if its original disks were changed since the failover.`,
    then,
    'Nothing is lost. The original disks stay as they are until the commit.',
  ].join('\n');
}

export function completeFailbackCommand(): Command {
  return new Command('complete-failback')
    .summary('complete a failback that waits')
    .description(
      'Lets a failback continue that was started with --sync before: the VM is shut down at the recovery site, its ' +
        'last changes are sent, and it starts at the primary site.',
    )
    .argument('<vm>', 'name of the VM')
    .option('--wait', 'return once the VM runs at the primary site')
    .option('--yes', 'do not ask for confirmation')
    .action(async (vm: string, options: DestructiveOptions, command: Command) => {
      await withFarshore(command, async (farshore) => {
        await requireAllowed(farshore, vm, 'completeFailback');
        await confirm(
          `${vm} will be shut down at the recovery site, its last changes will be sent, and it will run at the primary site.`,
          options.yes,
        );
        const accepted = await farshore.completeFailback(vm);
        await followRequest('complete-failback', vm, command, farshore, accepted, options, (job) =>
          failbackText(vm, job),
        );
      });
    });
}

export function reverseReplicateCommand(): Command {
  return new Command('reverse-replicate')
    .summary('protect a VM again after its failback')
    .description(
      'Protects a VM again that was failed back and committed. Compares both sites and sends only the differences; ' +
        'recovery points in the vault are kept.',
    )
    .argument('<vm>', 'name of the VM')
    .addOption(reasonOption())
    .option('--wait', 'return once the VM is protected')
    .action(async (vm: string, given: { wait?: true } & ReasonOptions, command: Command) => {
      const { wait } = given;
      await withFarshore(command, async (farshore) => {
        await requireAllowed(farshore, vm, 'reverseReplicate');
        const accepted = await farshore.startJob(vm, 'reverseReplicate', reasonOf(given));
        await followRequest(
          'reverse-replicate',
          vm,
          command,
          farshore,
          accepted,
          wait ? { wait } : {},
          () => `${vm}: its changes are being synchronized`,
        );
        if (wait) await untilProtected(farshore, vm);
      });
    });
}

/** The jobs that follow; one that needs an operator is told by `status`. */
async function untilProtected(farshore: Farshore, vm: string): Promise<void> {
  await farshore.followVm(vm, (view) => !view || (view.item.phase === 'Protected' && !view.item.job));
}

/** Of a failback that has succeeded. */
function failbackText(vm: string, { state, result }: Job): string {
  const found = failbackResultSchema.safeParse(result).data;
  if (!found) return `${vm}: ${state}`;
  const isComplete = found.disks.every((disk) => disk.lastWriteIssued === disk.lastWriteApplied);
  return [
    `${vm} was failed back and runs at the primary site.`,
    fields([
      ['Shut down at', found.exportsClosedAt],
      ['Running at', found.runningAt],
      ['Outage', formatSeconds(found.outageSeconds)],
      ['Sent', formatBytes(found.bytesSent)],
      ['Lost', isComplete ? 'nothing' : 'NOT ALL WRITES ARRIVED'],
    ]),
    `Next, once you have checked that it works: farshore commit ${vm}`,
  ].join('\n');
}
