/** What the hypervisor of either side tells of a VM. */
import type { FailureCode } from '../domain/errors.js';
import type { Fencing } from '../domain/fencing.js';
import type { Hardware } from '../domain/hardware.js';

export interface HypervisorVm {
  readonly name: string;
  readonly state: 'Running' | 'Off';
  readonly disks: readonly HypervisorDisk[];
  /** Whether it can be started while it runs elsewhere. */
  readonly fencing: Fencing;
  /** Undefined where that can't be told. */
  readonly hardware?: Hardware;
  readonly tracking?: TrackingState;
  /** The VM snapshot that is copied or compared, until it is merged. */
  readonly snapshot?: string;
  /** Why the VM cannot be used: a disk that is missing, a broken chain. */
  readonly failure?: { readonly code: FailureCode; readonly detail: string };
}

export interface HypervisorDisk {
  readonly name: string;
  readonly path: string;
  readonly format: string;
  /** Virtual size, bytes. */
  readonly size: number;
  /** Where it is served over NBD, while the VM runs; undefined at a hypervisor that serves no disks. */
  readonly nbdUri?: string;
  /** What tracking its changes takes beside it, bytes; undefined where that can't be told. */
  readonly logBytes?: number;
  /** Set when it is not replicated. */
  readonly excluded?: boolean;
}

export interface TrackingState {
  readonly epoch: number;
  /** The next cut is of this sequence. */
  readonly openSequence: number;
  /** Set when the source can't tell the whole difference any more; tracking has stopped then. */
  readonly resyncCause?: string;
  /** What `lastWrite` of a cut that was made now would be, per disk. */
  readonly lastWrites: Readonly<Record<string, number>>;
}

/** What tells of the VMs of a host, or of recovery compute. */
export interface VmInventory {
  listVms(): Promise<HypervisorVm[]>;
  /** @throws CatalogueError VmNotFound */
  describeVm(vm: string): Promise<HypervisorVm>;
}
