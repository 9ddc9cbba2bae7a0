/**
 * The hypervisor of one host, as the engine and the activities need it: power, snapshots, tracked changes.
 * Every operation can be repeated: done twice it leaves what once would have left.
 */
import type { AppConsistentFailure } from '../domain/app-consistency.js';
import type { FailureCode } from '../domain/errors.js';
import type { Fence } from '../domain/fence.js';
import type { Range } from '../domain/ranges.js';
import type { ReadableDisk } from '../disks/disk.js';

/** What a hypervisor tells of a VM. */
export interface HypervisorVm {
  readonly name: string;
  readonly state: 'Running' | 'Off';
  readonly disks: readonly HypervisorDisk[];
  readonly tracking?: TrackingState;
  /** The VM snapshot of an initial copy, until it is merged. */
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
  /** Undefined while the VM is off. */
  readonly nbdUri?: string;
  /** Bytes of all its `.hrl` files. */
  readonly logBytes: number;
  /** Set when it is not replicated. */
  readonly excluded?: boolean;
}

export interface TrackingState {
  readonly epoch: number;
  /** Sequence of the open logs: the next cut seals these. */
  readonly openSequence: number;
  /** Set when the logs no longer tell the whole difference; tracking has stopped then. */
  readonly resyncCause?: string;
  /** Number of the last write taken, per disk. */
  readonly lastWrites: Readonly<Record<string, number>>;
}

export interface ShutDownResult {
  /** When the last export was closed and everything in flight was on disk. ISO 8601. */
  readonly exportsClosedAt: string;
}

/** The sealed logs of one cycle. */
export interface Cut {
  readonly vm: string;
  readonly epoch: number;
  readonly sequence: number;
  readonly sealedAt: string;
  /** True when the VM was shut down, its exports closed, when the logs were sealed. */
  readonly final: boolean;
  /** The guest was frozen at that instant. */
  readonly appConsistent?: boolean;
  /** It was to be, and was not: the cut is crash-consistent. */
  readonly appConsistentFailure?: AppConsistentFailure;
  readonly disks: readonly CutDisk[];
}

export interface CutOptions {
  /** Freeze the guest for the cut, for no longer than this, ms. Where that fails the cut is made all the same, and says why. */
  readonly appConsistent?: { readonly deadlineMs: number };
}

export interface CutDisk {
  readonly name: string;
  readonly size: number;
  readonly log: string;
  readonly lastWrite: number;
}

/** What changed on every disk of a VM up to one instant. Sealed logs are one source of it; a host's own change tracking another. */
export interface ChangeSet {
  readonly disks: readonly DiskChanges[];
  close(): Promise<void>;
}

export interface DiskChanges {
  readonly name: string;
  /**
   * Sorted, without overlap, 512-aligned; `zero` ranges carry no data. The same each time they are gone through; there may
   * be millions, so nobody keeps them.
   */
  readonly ranges: Iterable<ChangeRange>;
  /** Content of a range at the instant of the change set. @throws CatalogueError LogBroken when a checksum fails. */
  read(range: ChangeRange): Promise<Buffer>;
}

export interface ChangeRange extends Range {
  readonly zero: boolean;
  /** Where the source keeps it; means nothing to anyone else. */
  readonly position: number;
}

/**
 * The hypervisor of one host.
 * @throws CatalogueError HypervisorUnreachable, VmNotFound, DiskMissing, InvalidVmState, ResyncRequired.
 */
export interface Hypervisor {
  listVms(): Promise<HypervisorVm[]>;
  describeVm(vm: string): Promise<HypervisorVm>;
  /**
   * Refused with StaleEpoch when the VM has been failed over under a newer epoch. Replication that was begun under an older
   * one ends, as nobody may send what it has logged.
   */
  startVm(vm: string, epoch: number): Promise<void>;
  /** Closes the exports, waits for what is in flight, flushes. The VM stays off through restarts of the hypervisor. */
  shutDownVm(vm: string): Promise<ShutDownResult>;
  /** As shutting down, without waiting for guests to let go: connections are cut. */
  turnOffVm(vm: string): Promise<void>;
  /** Remembers that the VM runs elsewhere under this epoch: starting it here with an older one is refused. */
  fenceVm(vm: string, epoch: number): Promise<void>;
  /** Takes a VM snapshot and starts tracking at the same instant, with nothing in flight. Repeated with the same epoch: nothing. */
  beginReplication(vm: string, epoch: number): Promise<void>;
  /** Stops tracking, merges a snapshot that is left, deletes the logs. */
  endReplication(vm: string): Promise<void>;
  /** A disk as it was when the snapshot was taken. */
  openSnapshotDisk(vm: string, epoch: number, disk: string): Promise<ReadableDisk>;
  /** Merges for a while. @returns bytes still to merge; 0 when the snapshot is gone. */
  mergeSnapshot(vm: string): Promise<number>;
  /**
   * Seals the open logs (`fence.sequence` must be theirs) and opens the next. Repeated: answers with the same cut.
   * Freezing, cutting and thawing are this one call: a caller that dies leaves no guest frozen.
   */
  cut(vm: string, fence: Fence, options?: CutOptions): Promise<Cut>;
  /**
   * As `cut`, and in the same instant, with nothing in flight, takes a VM snapshot. Repeated until the logs are released: the
   * same cut. @throws InvalidVmState when this cycle was cut without one.
   */
  snapshotAndCut(vm: string, fence: Fence): Promise<Cut>;
  openChangeSet(cut: Cut): Promise<ChangeSet>;
  /** Deletes sealed logs up to and including this sequence. */
  releaseLogs(vm: string, fence: Fence): Promise<void>;
}
