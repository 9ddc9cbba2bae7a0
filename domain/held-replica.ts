/** A VM's replica in the vault, as the views need it. */
import type { VaultState } from './vault.js';

/** Power state of the replica VM of a VM that should run at the recovery site, as the recovery compute reports it. */
export type ReplicaVmPower = 'Running' | 'Off' | 'NotThere';

export interface HeldReplica {
  readonly vm: string;
  /** The replica is held as protected: if Temporal does not know the VM, the replica is no longer updated. */
  readonly asProtected: boolean;
  /** Set while the vault says that the VM runs at the recovery site. */
  readonly state?: VaultState;
}
