/**
 * Compute at the recovery site: replica VMs, made from what the store holds.
 * Every operation can be repeated: done twice it leaves what once would have left.
 */
import type { ReplicaDescription } from '../domain/vault.js';
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
 * Compute at the recovery site.
 * @throws CatalogueError StaleEpoch, VmNotFound, InvalidVmState, RecoverySideNotAnswering.
 */
export interface RecoveryCompute {
  listVms(): Promise<HypervisorVm[]>;
  /** Creates the replica VM, powered off. Repeated with the same spec: nothing. */
  createVm(spec: ReplicaVmSpec): Promise<void>;
  startVm(vm: string, epoch: number): Promise<HypervisorVm>;
  turnOffVm(vm: string): Promise<void>;
  deleteVm(vm: string): Promise<void>;
}
