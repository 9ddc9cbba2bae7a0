/** The state of a VM as a hypervisor of either site reports it. */
import type { FailureCode } from '../domain/errors.js';
import type { GuestState } from '../domain/guest.js';
import type { Fencing } from '../domain/fencing.js';
import type { Hardware } from '../domain/hardware.js';
import type { FailbackState } from './failback-target.js';

export interface HypervisorVm {
  readonly name: string;
  readonly state: 'Running' | 'Off';
  /** Undefined where no guest is booted: a VM that runs is its served disks then. */
  readonly guest?: GuestState;
  readonly disks: readonly HypervisorDisk[];
  /** Whether it can be started while it runs elsewhere. */
  readonly fencing: Fencing;
  /** Undefined if it is unknown. */
  readonly hardware?: Hardware;
  readonly tracking?: TrackingState;
  /** The VM snapshot that is being copied or compared, until it is merged. */
  readonly snapshot?: string;
  /** Layers above its disks, in which it is brought back from the recovery site. */
  readonly failback?: FailbackState;
  /** Why the VM cannot be used: for example a missing disk or a broken chain. */
  readonly failure?: { readonly code: FailureCode; readonly detail: string };
}

export interface HypervisorDisk {
  readonly name: string;
  readonly path: string;
  readonly format: string;
  /** Virtual size, bytes. */
  readonly size: number;
  /** Where the disk is served over NBD while the VM runs; undefined if the hypervisor serves no disks. */
  readonly nbdUri?: string;
  /** Space that tracking takes in addition to the disk, bytes; undefined if it is unknown. */
  readonly logBytes?: number;
  /** Set if the disk is not replicated. */
  readonly excluded?: boolean;
}

export interface TrackingState {
  readonly epoch: number;
  /** Sequence of the next cut. */
  readonly openSequence: number;
  /** Set if the source can no longer report the whole difference; tracking has stopped then. */
  readonly resyncCause?: string;
  /** For each disk, the `lastWrite` that a cut made now would have. */
  readonly lastWrites: Readonly<Record<string, number>>;
}

/** Lists and describes the VMs of a host or of the recovery compute. */
export interface VmInventory {
  listVms(): Promise<HypervisorVm[]>;
  /** @throws CatalogueError VmNotFound */
  describeVm(vm: string): Promise<HypervisorVm>;
}
