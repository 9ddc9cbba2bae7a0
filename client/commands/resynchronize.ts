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
    .summary('compare both sides of a VM and send what differs')
    .description(
      'Compares all disks of a VM with their replica in blocks of 64 KiB and sends those that differ; afterwards changes are\n' +
        'sent as before. Recovery points are kept. A VM that is marked for it is resynchronized by itself in the window of its\n' +
        'policy; without --now one that is not marked is marked.',
    )
    .argument('<vm>', 'name of the VM')
    .option('--now', 'begin at once, whatever the window')
    .option('--wait', 'with --now: return once it is done')
    .action(async (vm: string, { now, wait }: Options, command: Command) => {
      if (wait && !now)
        throw new RefusedError('--wait goes with --now: without it the window of the policy may be hours away');
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
          `${vm}: is marked for resynchronization${dueAt === undefined ? '' : `, which begins at ${dueAt}`}`,
        );
      });
    });
}

function sentText({ result }: Job): string {
  const bytes = (name: string) => formatBytes(Number(result?.[name] ?? 0));
  return `resynchronized; ${bytes('bytesSent')} differed and were sent, ${bytes('digestBytes')} of digests`;
}
