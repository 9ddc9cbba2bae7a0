/** Activities that turn off, delete and start again the replica VM of a failed-over VM, on behalf of several jobs. */
import { CatalogueError } from '../domain/errors.js';
import type { ReplicaVmState, WrittenDisk } from '../domain/replica-vm.js';
import { toIso } from '../domain/time.js';
import type { HypervisorVm } from '../ports/hypervisor-vm.js';
import type { RecoveryCompute } from '../ports/recovery-compute.js';
import type { ReplicaStore } from '../ports/replica-store.js';
import { readVaultState } from '../replication/replica-state.js';
import { beating, type Beating } from './heartbeat.js';

export const replicaVmActivities = ({ store, compute }: { store: ReplicaStore; compute: RecoveryCompute }) => ({
  /**
   * Turns the replica VM off and keeps its disks.
   * @param input.madeBefore leaves a VM alone that was made for this epoch or a later one.
   * @returns what has been written to it; nothing more can be.
   */
  async stopReplicaVm({ vm, madeBefore }: { vm: string; madeBefore: number }): Promise<ReplicaVmState> {
    return beating(0, async (beat) => {
      const found = await findReplicaVm(compute, vm);
      // A VM that recovery compute could not load is off.
      if (found && !found.failure) await compute.turnOffVm(vm, { madeBefore });
      return await replicaVmState(compute, vm, beat);
    });
  },

  /** Deletes the replica VM with its writes. @param input.madeBefore see `stopReplicaVm`. */
  async deleteReplicaVm({ vm, madeBefore }: { vm: string; madeBefore: number }): Promise<void> {
    await beating(0, () => compute.deleteVm(vm, { madeBefore }));
  },

  /**
   * Starts a replica VM that was turned off, with its writes.
   * @throws CatalogueError StaleEpoch if the VM no longer runs at the recovery site according to the vault;
   * InvalidVmState if there is no replica VM.
   */
  async restartReplicaVm({ vm }: { vm: string }): Promise<{ startedAt: string }> {
    const state = await readVaultState(store, vm);
    if (!state) {
      const detail = `according to the vault, ${vm} runs at the primary site: an ended job has given it back. Run that job again, such as farshore cancel-failover ${vm}; if the primary site is lost: farshore failover ${vm} --type unplanned`;
      throw new CatalogueError('StaleEpoch', detail);
    }
    if (!(await findReplicaVm(compute, vm))) {
      const again = `farshore change-recovery-point ${vm} --recovery-point ${state.recoveryPoint}`;
      throw new CatalogueError('InvalidVmState', `there is no replica VM ${vm}; to create it again: ${again}`);
    }
    await compute.startVm(vm, state.epoch);
    return { startedAt: toIso(Date.now()) };
  },
});

const findReplicaVm = async (compute: RecoveryCompute, vm: string): Promise<HypervisorVm | undefined> =>
  (await compute.listVms()).find(({ name }) => name === vm);

/** Its power, and what has been written to it so far. */
export async function replicaVmState(
  compute: RecoveryCompute,
  vm: string,
  { signal, alive }: Pick<Beating, 'signal' | 'alive'>,
): Promise<ReplicaVmState> {
  const found = await findReplicaVm(compute, vm);
  if (!found) return { power: 'NotThere', written: [] };
  const { state: power, failure } = found;
  if (failure) return { power, written: [], problem: failure.detail };
  const written: WrittenDisk[] = [];
  for (const { name } of found.disks) {
    const disk = { name, bytes: 0, ranges: 0 };
    for await (const ranges of compute.listWritten(vm, name)) {
      signal.throwIfAborted();
      alive();
      disk.ranges += ranges.length;
      for (const { length } of ranges) disk.bytes += length;
    }
    written.push(disk);
  }
  return { power, written };
}
