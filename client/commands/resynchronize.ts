/** `resynchronize`. */
import { Command } from 'commander';
import { formatBytes } from '../../domain/bytes.js';
import type { Job } from '../../domain/job.js';
import { RefusedError } from '../errors.js';
import { requireAllowed } from './failover.js';
import { followRequest } from './follow-request.js';
import { outputOf, withFarshore } from './place.js';

interface Options {
  readonly now?: true;
  readonly wait?: true;
}

export function resynchronizeCommand(): Command {
  return new Command('resynchronize')
    .summary('compare both sites and send the differences')
    .description(
      'Compares all disks of a VM with their replica in blocks of 64 KiB, sends the blocks that differ, and then ' +
        'continues replication. Keeps the recovery points. A marked VM is resynchronized automatically in the ' +
        'window of its policy. Without --now, marks the VM to be resynchronized in its next window.',
    )
    .argument('<vm>', 'name of the VM')
    .option('--now', 'begin now, regardless of the window')
    .option('--wait', 'with --now: return once it is done')
    .action(async (vm: string, { now, wait }: Options, command: Command) => {
      if (wait && !now)
        throw new RefusedError('--wait needs --now: without it, the window of the policy may be hours away');
      await withFarshore(command, async (farshore) => {
        await requireAllowed(farshore, vm, 'resynchronize');
        const { jobId } = await farshore.resynchronize(vm, now ?? false);
        if (jobId !== undefined) {
          await followRequest(
            'resynchronize',
            vm,
            command,
            farshore,
            { jobId },
            wait ? { wait } : {},
            (job) => `${vm}: ${sentText(job)}`,
          );
          return;
        }
        const view = await farshore.followVm(vm, (news) => !news?.item.resync || news.item.resync.dueAt !== undefined);
        const dueAt = view?.item.resync?.dueAt;
        outputOf(command).result(
          'resynchronize',
          { vm, dueAt },
          `${vm}: marked for resynchronization${dueAt === undefined ? '' : `, which starts at ${dueAt}`}`,
        );
      });
    });
}

function sentText({ result }: Job): string {
  const bytes = (name: string) => formatBytes(Number(result?.[name] ?? 0));
  return `resynchronized; ${bytes('bytesSent')} differed and were sent, ${bytes('digestBytes')} of digests`;
}
