/** `unprotect`. */
import { Command } from 'commander';
import type { ProtectedItem } from '../../domain/protected-item.js';
import { RefusedError } from '../errors.js';
import { confirm } from './confirm.js';
import { requireAllowed } from './failover.js';
import { followRequest } from './follow-request.js';
import { withFarshore } from './place.js';

interface UnprotectOptions {
  readonly keepReplica?: true;
  readonly primaryLost?: true;
  readonly wait?: true;
  readonly yes?: true;
}

export function unprotectCommand(): Command {
  return new Command('unprotect')
    .summary('end the protection of a VM')
    .description(
      'Disables protection of a VM: its changes are tracked no more, and its replica is deleted with all recovery points.\n' +
        'The VM itself is not touched. After a committed failover only the protection ends: the replica VM runs on, and keeps\n' +
        'its disks. While the primary site does not answer, the job waits for it and can be cancelled; --primary-lost does\n' +
        'without it.',
    )
    .argument('<vm>', 'name of the VM')
    .option('--keep-replica', 'leave the replica and its recovery points, until the VM is protected anew')
    .option('--primary-lost', 'the host does not exist any more: only clear up at the recovery side')
    .option('--wait', 'return once it is done')
    .option('--yes', 'do not ask')
    .addHelpText('after', '\nExample:\n  farshore unprotect db-01 --wait')
    .action(async (vm: string, options: UnprotectOptions, command: Command) => {
      await withFarshore(command, async (farshore) => {
        await requireAllowed(farshore, vm, 'disableProtection');
        const item = (await farshore.protectedItem(vm))?.item;
        const keepReplica = options.keepReplica ?? false;
        if (keepReplica && !item?.applied) {
          throw new RefusedError(`${vm}: there is no replica to keep yet; its initial replication is not complete`);
        }
        await confirm(consequences(vm, item, keepReplica), options.yes);
        const parameters = { ...(keepReplica && { keepReplica }), ...(options.primaryLost && { primaryLost: true }) };
        const started = await farshore.startJob(vm, 'disableProtection', parameters);
        await followRequest(command, farshore, started, options, (job) => {
          const kept = job.result?.['replicaKept'] === true;
          return `${vm}: it is not protected any more; its replica ${kept ? 'is kept' : 'is deleted'}`;
        });
      });
    });
}

function consequences(vm: string, item: ProtectedItem | undefined, keepReplica: boolean): string {
  if (item?.activeSide === 'recovery') {
    return `${vm} will not be looked after any more. Its replica VM runs on; nothing of it is deleted.`;
  }
  if (keepReplica) {
    return `Changes of ${vm} will not be sent any more. Its replica stays as it was at ${item?.applied?.sealedAt}, with its recovery points, until ${vm} is protected anew.`;
  }
  const newest = item?.latestRecoveryPoint ? `, the newest of ${item.latestRecoveryPoint.time}` : '';
  return (
    `The replica of ${vm} and all its recovery points${newest} will be deleted; ${vm} cannot be recovered from them any more.\n` +
    'The VM at the primary site runs on.'
  );
}
