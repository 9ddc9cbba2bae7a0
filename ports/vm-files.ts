/** The files that a hypervisor keeps for VMs, so that those which no VM needs can be found and removed. */

/**
 * `changeLogs`, `overlays`: beside the disks of a VM that the hypervisor has. `oldChangeLogs`: of epochs before the
 * tracked one. `vmState`: state and guest folder of a VM that the hypervisor no longer has. `vmFolder`,
 * `testVmFolder`: of a VM at the recovery site. `unfinished`: of a VM whose creation or deletion was interrupted.
 */
export type VmFileKind =
  | 'changeLogs'
  | 'oldChangeLogs'
  | 'overlays'
  | 'vmState'
  | 'vmFolder'
  | 'testVmFolder'
  | 'unfinished';

export interface VmFiles {
  readonly kind: VmFileKind;
  /** The VM's name; for a test VM, its own. */
  readonly vm: string;
  /** Bytes that they occupy. */
  readonly bytes: number;
  /** When the newest of them was made or last changed, ISO 8601. */
  readonly changedAt: string;
}

export interface VmFileKeeper {
  /** At most one entry for each kind and VM. @throws CatalogueError HypervisorUnreachable, RecoverySideNotAnswering */
  listFiles(): Promise<VmFiles[]>;
  /**
   * Removes `oldChangeLogs`, `vmState` and `unfinished`. Repeatable. @throws CatalogueError InvalidVmState for any
   * other kind, and for files that are in use by now.
   */
  removeFiles(kind: VmFileKind, vm: string): Promise<void>;
}
