/** Activities of the Azure worker for a failback: they send what a replica VM has written to the primary site. */
import { CatalogueError } from '../domain/errors.js';
import { sameWrites } from '../domain/last-cut.js';
import { toIso } from '../domain/time.js';
import { recoveryPointId } from '../domain/vault.js';
import { cutCycle, releaseCycle } from '../replication/cut-cycle.js';
import { deleteCyclesAfter } from '../replication/cycles.js';
import {
  nextEpoch,
  readApplied,
  readDescription,
  readNotedState,
  readVaultState,
  vmFence,
  writeVaultState,
} from '../replication/replica-state.js';
import { deleteSeedRecords } from '../replication/seed-record.js';
import { shipCycle } from '../replication/ship.js';
import {
  differingFrom,
  openSnapshotChanges,
  snapshotCut,
  writtenSince,
  type SnapshotTask,
} from '../replication/snapshot-changes.js';
import type { FailbackState } from '../ports/failback-target.js';
import type { RecoveryCompute } from '../ports/recovery-compute.js';
import type { ReplicaStore } from '../ports/replica-store.js';
import { beating } from './heartbeat.js';
import { issuedWrites, shippedCycleOf, type DiskSize, type ShippedCycle } from './shipped-cycle.js';
import type { Turns } from './turns.js';

export interface FailbackSourceDeps {
  readonly store: ReplicaStore;
  readonly compute: RecoveryCompute;
  readonly turns: Turns;
}

export function failbackSourceActivities({ store, compute, turns }: FailbackSourceDeps) {
  /** The change sets of failbacks have later epochs than the replica. @param epoch the current one of the store. */
  const deleteSent = async (vm: string, epoch: number): Promise<void> => {
    const fence = vmFence(vm, { epoch, sequence: 0 });
    const description = await readDescription(store, vm);
    if (description) await deleteCyclesAfter(store, vm, description.epoch, fence);
    await deleteSeedRecords(store, vm, fence);
  };
  return {
    /**
     * Is there a replica VM that can be failed back?
     * @returns its disks, and an epoch higher than any the store has seen.
     */
    async checkFailback({ vm }: { vm: string }): Promise<{ epoch: number; disks: DiskSize[] }> {
      const found = await compute.describeVm(vm);
      if (found.failure) throw new CatalogueError(found.failure.code, found.failure.detail);
      if (found.state !== 'Running') {
        throw new CatalogueError('InvalidVmState', `the replica VM ${vm} is ${found.state}, expected Running`);
      }
      return { epoch: await nextEpoch(store, vm), disks: found.disks.map(({ name, size }) => ({ name, size })) };
    },

    /**
     * Begins an epoch in which the replica VM runs and its changes are tracked. The vault's record of where the VM runs
     * is written first, because it is valid only in the current epoch.
     * @returns a time before the VM snapshot was taken, ISO 8601.
     */
    async beginFailback({ vm, epoch }: { vm: string; epoch: number }): Promise<{ sealedAt: string }> {
      return beating(0, async () => {
        const sealedAt = toIso(Date.now());
        const state = await readVaultState(store, vm);
        if (!state) throw new CatalogueError('InvalidReplicaState', `the store does not record that ${vm} failed over`);
        await writeVaultState(store, vm, { ...state, epoch });
        await store.objects.raiseFence(vmFence(vm, { epoch, sequence: 0 }));
        await deleteSent(vm, epoch);
        await compute.beginReplication(vm, epoch);
        return { sealedAt };
      });
    },

    /** Whether the original disks equal the recovery point that the replica VM was made from. */
    async compareOriginal(input: {
      vm: string;
      original?: NonNullable<FailbackState['original']>;
    }): Promise<{ equalsPoint: boolean }> {
      const { vm, original } = input;
      const [state, applied] = [await readNotedState(store, vm), await readApplied(store, vm)];
      const isPoint = state && applied && state.recoveryPoint === recoveryPointId(applied.epoch, applied.sequence);
      if (!original || !isPoint || original.epoch !== applied.epoch) return { equalsPoint: false };
      return { equalsPoint: sameWrites(original.lastWrites, applied.disks) };
    },

    /** Sends the content of the VM snapshot that the original disks may lack. */
    async sendSnapshot({
      isOriginalEqual,
      ...task
    }: SnapshotTask & { isOriginalEqual: boolean }): Promise<ShippedCycle> {
      return turns.beating('copies', 0, async (beat) => {
        const rangesOf = isOriginalEqual ? writtenSince(compute, task.vm) : differingFrom(store, task);
        const changes = await openSnapshotChanges(compute, task, rangesOf);
        try {
          const cut = snapshotCut(task);
          return shippedCycleOf(await shipCycle(store, changes, cut, cut, beat));
        } finally {
          await changes.close();
        }
      });
    },

    /** Merges the replica VM's snapshot for a limited time. @returns the number of bytes left. */
    async mergeReplicaSnapshot({ vm }: { vm: string }): Promise<{ bytesLeft: number }> {
      return beating(0, async () => ({ bytesLeft: await compute.mergeSnapshot(vm) }));
    },

    /** Sends what the replica VM has written since the previous cycle. An existing cycle is returned unchanged. */
    async sendReplicaCycle(task: { vm: string; epoch: number; sequence: number }): Promise<ShippedCycle> {
      return turns.beating('cycles', 0, async (beat) => {
        const { manifest } = await cutCycle(compute, store, task, async (cut) => {
          const changes = await compute.openChangeSet(cut);
          try {
            return await shipCycle(store, changes, cut, cut, beat);
          } finally {
            await changes.close();
          }
        });
        await releaseCycle(compute, manifest);
        const issued = manifest.final ? await issuedWrites(compute, task) : undefined;
        return { ...shippedCycleOf(manifest), ...(issued && { issued }) };
      });
    },

    /** Shuts the replica VM down in order. */
    async shutDownReplicaVm({ vm }: { vm: string }): Promise<{ exportsClosedAt: string }> {
      return beating(0, () => compute.shutDownVm(vm));
    },

    /** Ends the tracking of the replica VM, and deletes the change sets. Has no effect once the VM was handed over. */
    async endFailback({ vm }: { vm: string }): Promise<void> {
      await beating(0, async () => {
        const state = await readVaultState(store, vm);
        if (!state) return;
        await compute.endReplication(vm);
        await deleteSent(vm, state.epoch);
      });
    },

    /** Takes the right to run from the recovery site: from now on the replica VM can't be started. */
    async handOver({ vm, epoch }: { vm: string; epoch: number }): Promise<void> {
      await store.objects.raiseFence(vmFence(vm, { epoch, sequence: 0 }));
    },

    /**
     * Can the replica VM run again, as the failback shut it down?
     * @returns an epoch higher than any that the store has seen.
     */
    async checkFailbackCancellation({ vm }: { vm: string }): Promise<{ epoch: number }> {
      const { failure } = await compute.describeVm(vm);
      if (failure) throw new CatalogueError(failure.code, failure.detail);
      return { epoch: await nextEpoch(store, vm) };
    },

    /** Gives the right to run back to the replica VM: from now on the VM runs at the recovery site again. */
    async returnToRecovery({ vm, epoch }: { vm: string; epoch: number }): Promise<void> {
      const state = await readNotedState(store, vm);
      if (!state) throw new CatalogueError('InvalidReplicaState', `the store does not record that ${vm} failed over`);
      await writeVaultState(store, vm, { ...state, epoch });
      await store.objects.raiseFence(vmFence(vm, { epoch, sequence: 0 }));
    },

    /** Deletes the replica VM of a committed failback, and the change sets that were sent. Its data is in the layers. */
    async removeFailedBackReplicaVm({ vm, epoch }: { vm: string; epoch: number }): Promise<void> {
      await beating(0, async () => {
        await compute.deleteVm(vm);
        await deleteSent(vm, epoch);
      });
    },
  };
}
