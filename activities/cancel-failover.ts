/** Activities that cancel a failover, at the recovery site. */
import { CatalogueError } from '../domain/errors.js';
import type { FailoverCancellation } from '../domain/failover-cancellation.js';
import type { WrittenState } from '../ports/change-source.js';
import type { RecoveryCompute } from '../ports/recovery-compute.js';
import type { ReplicaStore } from '../ports/replica-store.js';
import { continueReplica, heldState, type ContinueTask } from '../replication/continue-replica.js';
import { listRecoveryPoints } from '../replication/recovery-points.js';
import { nextEpoch, readDescription, readVaultState, vmFence } from '../replication/replica-state.js';
import { beating } from './heartbeat.js';
import { replicaVmState } from './replica-vm.js';

export interface CancellationAtVault extends Omit<FailoverCancellation, 'source'> {
  /** The state of the source that the replica holds, or why that is not certain. */
  readonly held: WrittenState | { readonly problem: string };
  /** Higher than any epoch that the store has seen. */
  readonly epoch: number;
}

export const cancelFailoverActivities = ({ store, compute }: { store: ReplicaStore; compute: RecoveryCompute }) => ({
  /** What would be discarded? Changes nothing. */
  async checkFailoverCancellation({ vm }: { vm: string }): Promise<CancellationAtVault> {
    return beating(0, async (beat) => {
      if (!(await readDescription(store, vm))) {
        throw new CatalogueError('InvalidReplicaState', `the store holds no description of ${vm}`);
      }
      const state = await readVaultState(store, vm);
      return {
        epoch: await nextEpoch(store, vm),
        replicaVm: await replicaVmState(compute, vm, beat),
        held: await heldState(store, vm).catch(uncertain),
        ...(state && { recoveryPoint: { id: state.recoveryPoint, time: state.recoveryPointTime } }),
      };
    });
  },

  /**
   * From here on, the VM runs at the primary site according to the vault, and its replica VM can no longer be started.
   * Keeps the replica VM, and all recovery points.
   * @returns the newest one.
   */
  async endFailover({
    vm,
    epoch,
  }: {
    vm: string;
    epoch: number;
  }): Promise<{ recoveryPoint?: { id: string; time: string } }> {
    await store.objects.raiseFence(vmFence(vm, { epoch, sequence: 0 }));
    const newest = (await listRecoveryPoints(store, vm)).at(-1);
    return newest ? { recoveryPoint: { id: newest.id, time: newest.time } } : {};
  },

  /** Continues the replica in this epoch, because it was proven equal to its source. */
  async continueReplica(task: ContinueTask): Promise<void> {
    await beating(0, () => continueReplica(store, task));
  },
});

/** What is not certain is compared. */
function uncertain(error: unknown): { problem: string } {
  if (error instanceof CatalogueError && error.code === 'InvalidReplicaState') return { problem: error.message };
  throw error;
}
