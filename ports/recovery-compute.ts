/** Compute at the recovery site: replica VMs, made from replicas in the store. */
import type { Range } from '../domain/ranges.js';
import type { ReplicaDescription } from '../domain/vault.js';
import type { ChangeSource } from './change-source.js';
import type { HypervisorVm } from './hypervisor-vm.js';
import type { ShutDownResult } from './hypervisor.js';
import type { DiskAddress } from './replica-disks.js';
import type { TestVms } from './test-vms.js';

export interface ReplicaVmSpec {
  /** The VM to create, with the source's hardware as far as it is known. */
  readonly description: ReplicaDescription;
  /** The epoch under which this VM may run. */
  readonly epoch: number;
  /** For each disk of the VM, the replica disk and the snapshot of it from which it is made. */
  readonly disks: readonly { readonly name: string; readonly replica: DiskAddress; readonly snapshot: string }[];
}

/** Restricts an operation to one of the VMs that may have the same name, one after the other. */
export interface WhichVm {
  /**
   * The operation has no effect on a VM that was made for this epoch or a later one: a late request can't stop or delete
   * the VM that has replaced the one it meant.
   */
  readonly madeBefore?: number;
}

/**
 * Compute at the recovery site. It is also a source of changes, so that its VMs can be replicated back. Replication can
 * begin before a VM is started for the first time: the first write of its guest is then already tracked, and the VM
 * snapshot equals the recovery point. Like a start, it is refused with StaleEpoch under an epoch older than the VM's or
 * the store's.
 *
 * Every operation can be repeated: doing it twice has the same result as doing it once.
 * @throws CatalogueError StaleEpoch, VmNotFound, InvalidVmState, RecoverySideNotAnswering.
 */
export interface RecoveryCompute extends ChangeSource, TestVms {
  /** Creates the replica VM, powered off. Has no effect if it is repeated with the same spec. */
  createVm(spec: ReplicaVmSpec): Promise<void>;
  startVm(vm: string, epoch: number): Promise<HypervisorVm>;
  /** As `Hypervisor.shutDownVm`: everything that the guest has written is then in the next cut. */
  shutDownVm(vm: string): Promise<ShutDownResult>;
  turnOffVm(vm: string, which?: WhichVm): Promise<void>;
  /** Turns it off first. Has no effect if there is no such VM. */
  deleteVm(vm: string, which?: WhichVm): Promise<void>;
  /**
   * Lists where a disk may differ from the recovery point that it was made from; everywhere else it equals the point.
   * Yields some ranges at a time; taken together they are sorted, disjoint and 512-aligned. A write during the listing
   * may be missing from it; a caller that has begun replication before finds it in the cuts.
   * @throws CatalogueError DiskMissing if the VM has no such disk.
   */
  listWritten(vm: string, disk: string, options?: WrittenOptions): AsyncIterable<readonly Range[]>;
}

export interface WrittenOptions {
  /** Lists where the VM snapshot may differ from the recovery point; the same ranges as long as there is a snapshot. */
  readonly ofSnapshot?: boolean;
}
