/** The hypervisor of one host: a source of changes that runs the VMs, and keeps them off. */
import type { ChangeSource } from './change-source.js';

export interface ShutDownResult {
  /** When the last export was closed and everything in flight was on disk. ISO 8601. */
  readonly exportsClosedAt: string;
}

/**
 * The hypervisor of one host. Every operation can be repeated: done twice it leaves what once would have left.
 * @throws CatalogueError HypervisorUnreachable, VmNotFound, DiskMissing, InvalidVmState.
 */
export interface Hypervisor extends ChangeSource {
  /**
   * Refused with StaleEpoch when the VM has been failed over under a newer epoch. Replication that was begun under an older
   * one ends, as nobody may send what it has logged.
   */
  startVm(vm: string, epoch: number): Promise<void>;
  /** Closes the exports, waits for what is in flight, flushes. The VM stays off through restarts of the hypervisor. */
  shutDownVm(vm: string): Promise<ShutDownResult>;
  /** As shutting down, without waiting for guests to let go: connections are cut. */
  turnOffVm(vm: string): Promise<void>;
  /**
   * Remembers that the VM runs elsewhere under this epoch: starting it here with an older one is refused. Where its fencing
   * is `advised`, that goes for who asks by this port; the VM's own console can start it.
   */
  fenceVm(vm: string, epoch: number): Promise<void>;
}
