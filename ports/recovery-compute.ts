/** Compute at the recovery site: replica VMs, made from what the store holds. */
import type { Range } from '../domain/ranges.js';
import type { ReplicaDescription } from '../domain/vault.js';
import type { ChangeSource } from './change-source.js';
import type { HypervisorVm } from './hypervisor-vm.js';
import type { DiskAddress } from './replica-disks.js';

export interface ReplicaVmSpec {
  /** What to make; with the source's hardware, as far as that is known. */
  readonly description: ReplicaDescription;
  /** The epoch this VM may run under. */
  readonly epoch: number;
  /** The replica disk, and the snapshot of it, that each disk starts from. */
  readonly disks: readonly { readonly name: string; readonly replica: DiskAddress; readonly snapshot: string }[];
}

/**
 * Compute at the recovery site: what runs there is a source of changes, too, for the way back. Replication can be begun
 * before a VM is started for the first time: its changes are tracked from its guest's first write on, then, and its snapshot is
 * the recovery point. As with starting, that is refused with StaleEpoch under an older epoch than the VM's, or the store's.
 *
 * Every operation can be repeated: done twice it leaves what once would have left.
 * @throws CatalogueError StaleEpoch, VmNotFound, InvalidVmState, RecoverySideNotAnswering.
 */
export interface RecoveryCompute extends ChangeSource {
  /** Creates the replica VM, powered off. Repeated with the same spec: nothing. */
  createVm(spec: ReplicaVmSpec): Promise<void>;
  startVm(vm: string, epoch: number): Promise<HypervisorVm>;
  turnOffVm(vm: string): Promise<void>;
  deleteVm(vm: string): Promise<void>;
  /**
   * Where a disk may differ from the recovery point that it was made from, some ranges at a time; all together sorted, without
   * overlap, 512-aligned. Everywhere else it is as the point. What is written while they are gone through may be missing: who
   * has begun replication before finds that in the cuts.
   * @throws CatalogueError DiskMissing when the VM has no such disk.
   */
  listWritten(vm: string, disk: string): AsyncIterable<readonly Range[]>;
}
