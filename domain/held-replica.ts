/** A VM's replica in the vault, as the views need it. */
import type { VaultState } from './vault.js';

/** What the recovery compute says of a VM that should run at the recovery site. */
export type ReplicaVmPower = 'Running' | 'Off' | 'NotThere';

export interface HeldReplica {
  readonly vm: string;
  /** It is held as protected: where Temporal knows nothing of the VM, nothing keeps it up to date. */
  readonly asProtected: boolean;
  /** Set while the vault says that the VM runs at the recovery site. */
  readonly state?: VaultState;
}
