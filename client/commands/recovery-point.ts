/** `recovery-point list`. */
import { Command } from 'commander';
import { formatSeconds, secondsBetween, toIso } from '../../domain/time.js';
import type { RecoveryPoint } from '../../domain/vault.js';
import type { PointHolder } from '../../local/local-vault.js';
import { RefusedError } from '../errors.js';
import { table } from '../output.js';
import { outputOf } from './place.js';
import { damagedText, kindText, pointValue, suspectText } from './points-report.js';
import { waitingForStore } from './store-patience.js';
import { storeOf, storeOption, type StoreOption } from './vault.js';

export function recoveryPointCommand(): Command {
  const recoveryPoint = new Command('recovery-point')
    .summary('recovery points of a VM')
    .description('A recovery point is a state of all disks of a VM at one instant.');
  recoveryPoint
    .command('list')
    .summary('all recovery points of a VM, and what holds them')
    .description(
      'Lists all recovery points of a VM, the newest first, with age, kind and names. A point that a replica VM or a ' +
        'test VM runs from, or that is being read, is held: it stays, however old it is. Reads the store, and needs ' +
        'neither Temporal nor the primary site.',
    )
    .argument('<vm>', 'name of the VM')
    .option(...storeOption)
    .addHelpText('after', '\nExample:\n  farshore recovery-point list db-01')
    .action(async (vm: string, options: StoreOption, command: Command) => {
      const store = await storeOf(options, command);
      const { readPoints } = await import('../../local/local-vault.js');
      const found = await waitingForStore(store, readPoints(store, vm));
      if (!found) throw new RefusedError(`the vault holds no replica of ${vm}; list its VMs with: farshore vault list`);
      const { points, damaged, holders } = found;
      const now = toIso(Date.now());
      const recoveryPoints = points.map((point) => ({
        ...pointValue(point),
        ageSeconds: secondsBetween(point.time, now),
        heldBy: holders.get(point.id) ?? [],
      }));
      const text = listText(points, holders, now) + suspectText(points) + damagedText(damaged);
      outputOf(command).result('recovery-point list', { vm, recoveryPoints, damaged }, text);
    });
  return recoveryPoint;
}

const holderText: Record<PointHolder, string> = {
  replicaVm: 'the replica VM',
  testVm: 'the test VM',
  reader: 'a reader',
};

function listText(
  points: readonly RecoveryPoint[],
  holders: ReadonlyMap<string, readonly PointHolder[]>,
  now: string,
): string {
  if (points.length === 0) return 'There are no recovery points.';
  const rows = points
    .toReversed()
    .map((point) => [
      ...[point.id, point.time, formatSeconds(secondsBetween(point.time, now)), kindText(point)],
      point.tags?.join(', ') || '-',
      (holders.get(point.id) ?? []).map((holder) => holderText[holder]).join(', ') || '-',
    ]);
  return table(['RECOVERY POINT', 'TIME', 'AGE', 'KIND', 'NAME', 'HELD BY'], rows);
}
