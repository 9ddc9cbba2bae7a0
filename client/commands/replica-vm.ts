/** `vm start` and `vm delete-replica`. */
import { Command } from 'commander';
import type { ProtectedItemView } from '../../domain/item-view.js';
import { RefusedError } from '../errors.js';
import { confirm } from './confirm.js';
import { outputOf, withFarshore } from './place.js';

export function startVmCommand(): Command {
  return new Command('start')
    .summary('start a VM at the site where it should run')
    .description(
      'Starts a VM that is off: at the recovery site if the vault says that it was failed over, otherwise at the ' +
        'primary site. If its replica VM no longer exists, for example because the recovery site was lost, ' +
        'recreates it from the recovery point that it ran from. Reaches only the hypervisors and the recovery compute ' +
        'of this machine.',
    )
    .argument('<vm>', 'name of the VM')
    .option('--yes', 'do not ask for confirmation')
    .action(async (vm: string, { yes }: { yes?: true }, command: Command) => {
      await withFarshore(command, async (farshore, { site: { site }, data }) => {
        const view = await farshore.protectedItem(vm).catch(notInSite);
        if (view?.item.job)
          throw new RefusedError(
            `${vm}: the job ${view.item.job.jobId} is running and decides where the VM runs; wait until it has ended`,
          );
        const { ReplicaVms } = await import('../../local/replica-vms.js');
        const vms = new ReplicaVms(site, data);
        const from = await vms.startingPoint(vm);
        if (from.side === 'primary') {
          refuseHalfCancelled(vm, view);
          refuseWhileFenceOwed(vm, view);
          await vms.startSource(farshore.siteVm(vm), from);
          outputOf(command).result('vm start', { vm, activeSide: 'primary' }, `${vm}: runs at the primary site`);
          return;
        }
        if (from.replica?.state === 'Running') {
          outputOf(command).result(
            'vm start',
            { vm, activeSide: 'recovery' },
            `${vm}: already runs at the recovery site`,
          );
          return;
        }
        if (!from.replica) {
          await confirm(
            `The replica VM ${vm} no longer exists. It will be recreated from the recovery point ${from.state?.recoveryPoint} (${from.state?.recoveryPointTime});\n` +
              'everything written at the recovery site since the failover is lost.',
            yes,
          );
        }
        await vms.startReplica(vm, from);
        outputOf(command).result(
          'vm start',
          { vm, activeSide: 'recovery', madeAgain: !from.replica },
          `${vm}: runs at the recovery site`,
        );
      });
    });
}

export function deleteReplicaCommand(): Command {
  return new Command('delete-replica')
    .summary('delete the replica VM of a VM that is no longer protected')
    .description(
      'Turns off and deletes the replica VM of a VM that was failed over and is no longer protected, with ' +
        'everything that was written at the recovery site. The recovery points in the vault are kept until the VM ' +
        'is protected again. The VM then belongs to the primary site: start it there (`farshore vm start VM`) and ' +
        'protect it.',
    )
    .argument('<vm>', 'name of the VM')
    .option('--yes', 'do not ask for confirmation')
    .action(async (vm: string, { yes }: { yes?: true }, command: Command) => {
      await withFarshore(command, async (farshore, { site: { site }, data }) => {
        const view = await farshore.protectedItem(vm).catch(notInSite);
        const phase = view?.item.phase ?? 'Unprotected';
        if (phase === 'FailedOver')
          throw new RefusedError(
            `${vm}: it runs as its replica VM; first run farshore commit ${vm}, then farshore unprotect ${vm}; or run it at the primary site again: farshore cancel-failover ${vm}`,
          );
        if (phase === 'Committed')
          throw new RefusedError(
            `${vm}: it runs as its replica VM; first end its protection: farshore unprotect ${vm}`,
          );
        refuseWhileFenceOwed(vm, view);
        if (phase !== 'Unprotected') throw new RefusedError(`${vm}: it runs at the primary site and has no replica VM`);
        const { ReplicaVms } = await import('../../local/replica-vms.js');
        const vms = new ReplicaVms(site, data);
        const { side, state, replica } = await vms.startingPoint(vm);
        if (side === 'primary')
          throw new RefusedError(`${vm}: the vault has no record of a failover, so there is no replica VM to delete`);
        await confirm(
          `Deletes: the replica VM ${vm}${replica ? `, which is ${replica.state} at the recovery site` : ' (which no longer exists)'}, and everything written there since ${state?.recoveryPointTime}.\n` +
            `Keeps:   the recovery point ${state?.recoveryPoint} in the vault, until ${vm} is protected again; the source VM and its disks at the primary site.`,
          yes,
        );
        await vms.deleteReplica(vm);
        outputOf(command).result(
          'vm delete-replica',
          { vm, deleted: true },
          `${vm}: the replica VM is deleted. Next: farshore vm start ${vm}, then farshore protect ${vm}`,
        );
      });
    });
}

/**
 * Refuses to start a VM at the primary site while its source still has to be fenced, because the fencing would turn it
 * off.
 * @throws RefusedError
 */
export function refuseWhileFenceOwed(vm: string, view: ProtectedItemView | undefined): void {
  if (!view?.item.sourceFence) return;
  const { host, vmmServer } = view.item;
  throw new RefusedError(
    `${vm}: its source on host ${host} is not fenced yet; Farshore would turn it off again when it fences it.\n` +
      `  Remedy: start the hypervisor of host ${host} and the Provider of VMM server ${vmmServer}, and re-run this command once \`farshore status\` no longer names the source. ` +
      `If the primary site no longer exists: farshore unprotect ${vm} --primary-lost`,
  );
}

/** The VM would run at the primary site, unknown to its protection. @throws RefusedError */
export function refuseHalfCancelled(vm: string, view: ProtectedItemView | undefined): void {
  if (view?.item.phase !== 'FailedOver') return;
  throw new RefusedError(
    `${vm}: a job that cancelled its failover ended early, and according to the vault it belongs to the primary site; finish that: farshore cancel-failover ${vm} --wait`,
  );
}

/** A replica VM stays although the site file may no longer name its VM. */
function notInSite(error: unknown): undefined {
  if (!(error instanceof RefusedError)) throw error;
}
