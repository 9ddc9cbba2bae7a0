/** Activities that change the recovery point of a failed-over VM. They need only the recovery site. */
import { CatalogueError } from '../domain/errors.js';
import type { PointChange } from '../domain/point-change.js';
import type { RecoveryPoint } from '../domain/vault.js';
import type { RecoveryCompute } from '../ports/recovery-compute.js';
import type { ReplicaStore } from '../ports/replica-store.js';
import { replicaVmAt } from '../replication/described-point.js';
import { choosePoint } from '../replication/failover-point.js';
import { listRecoveryPoints } from '../replication/recovery-points.js';
import { nextEpoch, readDescription, readVaultState, vmFence } from '../replication/replica-state.js';
import { beating } from './heartbeat.js';
import { replicaVmState } from './replica-vm.js';
import { createReplicaVm, recordFailover } from './unplanned-failover.js';

const POINTS_NAMED = 10;

export const changePointActivities = ({ store, compute }: { store: ReplicaStore; compute: RecoveryCompute }) => ({
  /**
   * Finds the point and what choosing it means. Changes nothing.
   * @param input.wanted `latest` or `latest-processed`, which are the newest point; `latest-app-consistent`; the id or
   * name of a point.
   * @returns the reason if it is refused.
   */
  async checkPointChange({
    vm,
    wanted,
  }: {
    vm: string;
    wanted: string;
  }): Promise<{ change: PointChange } | { refusal: string }> {
    return beating(0, async (beat) => {
      const state = await readVaultState(store, vm);
      if (!state) {
        return {
          refusal: `according to the vault, ${vm} runs at the primary site. If a job that cancelled its failover ended early, run it again: farshore cancel-failover ${vm}`,
        };
      }
      const from = { id: state.recoveryPoint, time: state.recoveryPointTime };
      let to: RecoveryPoint;
      try {
        ({ point: to } = await choosePoint(store, vm, wanted));
      } catch (error) {
        if (error instanceof CatalogueError && error.code === 'RecoveryPointNotFound') return { refusal: error.detail };
        throw error;
      }
      if (to.suspect !== undefined && to.id !== from.id) {
        return { refusal: suspectText(to, await listRecoveryPoints(store, vm)) };
      }
      const { id, time, kind, tags, suspect } = to;
      return {
        change: {
          epoch: await nextEpoch(store, vm),
          from,
          to: { id, time, kind, ...(tags && { tags }), ...(suspect !== undefined && { suspect }) },
          replicaVm: await replicaVmState(compute, vm, beat),
        },
      };
    });
  },

  /**
   * Records the new point and creates the replica VM from it, powered off, under a higher epoch. The former VM must have
   * been deleted.
   */
  async createReplicaVmAt(input: { vm: string; epoch: number; recoveryPoint: string }): Promise<void> {
    const { vm, epoch, recoveryPoint } = input;
    await beating(0, async () => {
      const point = (await listRecoveryPoints(store, vm)).find(({ id }) => id === recoveryPoint);
      const description = await readDescription(store, vm);
      if (!point || !description) {
        throw new CatalogueError('InvalidReplicaState', `recovery point ${recoveryPoint} of ${vm} no longer exists`);
      }
      const spec = await replicaVmAt(store, description, point, epoch);
      // Recorded before the fence rises: a record that is older than the fence would say that the failover was undone.
      await recordFailover(store, vm, epoch, point);
      await store.objects.raiseFence(vmFence(vm, { epoch, sequence: 0 }));
      await createReplicaVm(compute, spec);
    });
  },
});

function suspectText({ id, vm, suspect }: RecoveryPoint, points: readonly RecoveryPoint[]): string {
  const intact = points.filter((point) => point.suspect === undefined).slice(-POINTS_NAMED);
  const others =
    intact.length === 0
      ? 'All of its recovery points are suspect'
      : `Choose one that is not: ${intact
          .toReversed()
          .map((point) => `${point.id} (${point.kind}, ${point.time})`)
          .join(', ')}`;
  return `recovery point ${id} of ${vm} is suspect and may not match what the guest wrote: ${suspect}. ${others}`;
}
