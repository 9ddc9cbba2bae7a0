/** The hypervisor of one host: a source of changes that also starts VMs, keeps them off, and takes them back. */
import type { ChangeSource } from './change-source.js';
import type { FailbackTarget } from './failback-target.js';

export interface ShutDownResult {
  /** When the last export was closed and all writes in flight were on disk. ISO 8601. */
  readonly exportsClosedAt: string;
}

/**
 * The hypervisor of one host. Every operation is repeatable: performed twice, it has the same effect as performed once.
 * @throws CatalogueError HypervisorUnreachable, VmNotFound, DiskMissing, InvalidVmState.
 */
export interface Hypervisor extends ChangeSource, FailbackTarget {
  /**
   * Refused with StaleEpoch if the VM has been failed over under a newer epoch. Replication that was begun under an
   * older epoch ends, because its logged changes may no longer be sent.
   */
  startVm(vm: string, epoch: number): Promise<void>;
  /** Closes the exports, waits for writes in flight, flushes. The VM stays off when the hypervisor restarts. */
  shutDownVm(vm: string): Promise<ShutDownResult>;
  /** Like shutting down, but cuts the guests' connections instead of waiting for them. */
  turnOffVm(vm: string): Promise<void>;
  /**
   * Remembers that the VM runs elsewhere under this epoch: starting it here under an older one is refused. If its
   * fencing is `advised`, this applies only to callers of this port; the VM's own console can still start it.
   */
  fenceVm(vm: string, epoch: number): Promise<void>;
}
