/**
 * A source of changes, as the engine and the agent's activities need it: a system that runs the VMs of a site and knows
 * which parts of their disks were written. Sealed change logs are one way to know it, a host's own change tracking is
 * another. Every operation can be repeated: doing it twice has the same result as doing it once.
 */
import type { AppConsistentFailure } from '../domain/app-consistency.js';
import type { Fence } from '../domain/fence.js';
import type { Range } from '../domain/ranges.js';
import type { ReadableDisk } from '../disks/disk.js';
import type { VmInventory } from './hypervisor-vm.js';

/** Identifies a cut. A manifest contains it too. */
export interface CutIdentity extends Fence {
  readonly vm: string;
  readonly disks: readonly Pick<CutDisk, 'name' | 'token'>[];
}

/** A state of all tracked disks of a VM, by its last writes. */
export interface WrittenState {
  readonly epoch: number;
  /** By disk; see `CutDisk.lastWrite`. */
  readonly lastWrites: Readonly<Record<string, number>>;
}

/** All disks of a VM at one instant, and their changes since the previous cut. */
export interface Cut extends CutIdentity {
  readonly sealedAt: string;
  /** True if the VM was shut down and its exports were closed at that instant. */
  readonly final: boolean;
  /** True if the guest was frozen at that instant. */
  readonly appConsistent?: boolean;
  /** Why a cut that should be app-consistent is only crash-consistent. */
  readonly appConsistentFailure?: AppConsistentFailure;
  readonly disks: readonly CutDisk[];
}

export interface CutDisk {
  readonly name: string;
  /** Virtual size, bytes. */
  readonly size: number;
  /**
   * Identifies the cut's changes of this disk to the source. Others only keep, hand back and compare it. No two cuts
   * have the same token for a disk, not even two cuts with the same sequence.
   */
  readonly token: string;
  /**
   * Number of the last write in the cut. Within an epoch, numbers continue from cut to cut. A source that can't count
   * writes uses any number that rises whenever something was written in between.
   */
  readonly lastWrite: number;
}

export interface CutOptions {
  /** Freeze the guest for the cut, for at most this long, ms. If that fails, the cut is made anyway and says why. */
  readonly appConsistent?: { readonly deadlineMs: number };
  /** Answer only with a cut that already exists; make none. @throws CatalogueError CutGone if it does not exist. */
  readonly existing?: boolean;
}

/** The changes of all disks of a VM up to one instant. */
export interface ChangeSet {
  readonly disks: readonly DiskChanges[];
  close(): Promise<void>;
}

export interface DiskChanges {
  readonly name: string;
  /**
   * Yields some ranges at a time; taken together they are sorted, disjoint and 512-aligned, each of any length. `zero`
   * ranges carry no data. Every iteration yields the same ranges. There may be millions, so do not collect them.
   */
  readonly ranges: AsyncIterable<readonly ChangeRange[]>;
  /**
   * Content of a part of a range, at the instant of the change set.
   * @param part lies within the range, 512-aligned; not longer than the caller can hold in memory.
   * @throws CatalogueError LogBroken if a checksum fails, CutGone.
   */
  read(range: ChangeRange, part: Range): Promise<Buffer>;
}

export interface ChangeRange extends Range {
  /** The range is known to be all zeroes. A source that can't tell says false. */
  readonly zero: boolean;
  /** Where the source keeps the content; it has no meaning to anyone else. */
  readonly position: number;
}

/**
 * Until a cut is released, a source may lose it: for example with a snapshot that the host gave up. The source then
 * answers CutGone to anyone who continues with that cut. When asked, it cuts the same cycle again: all changes since
 * the last released cut, which include those of the lost cut. If it can no longer tell these, it marks the VM.
 * @throws CatalogueError HypervisorUnreachable, VmNotFound, DiskMissing, InvalidVmState, ResyncRequired.
 */
export interface ChangeSource extends VmInventory {
  /**
   * Takes a VM snapshot and starts tracking at the same instant, with no request in flight. Has no effect if it is
   * repeated with the same epoch.
   */
  beginReplication(vm: string, epoch: number): Promise<void>;
  /**
   * Like `beginReplication`, but only if the disks are known to hold exactly this state, whoever could have written to
   * them: no copy is needed then.
   * @throws CatalogueError ResyncRequired if they may hold something else; nothing has begun then.
   */
  continueReplication(vm: string, epoch: number, unchangedSince: WrittenState): Promise<void>;
  /**
   * Stops tracking, merges a remaining snapshot, and releases all cuts. @param ofEpoch has no effect if the VM is tracked
   * in another epoch: a late request leaves a newer replication alone.
   */
  endReplication(vm: string, ofEpoch?: number): Promise<void>;
  /**
   * Opens a disk as it was when the snapshot was taken.
   * @throws CatalogueError SnapshotGivenUp; InvalidVmState if there is no snapshot.
   */
  openSnapshotDisk(vm: string, epoch: number, disk: string): Promise<ReadableDisk>;
  /** Merges for a limited time. @returns how many bytes are left to merge; 0 if the snapshot is gone. */
  mergeSnapshot(vm: string): Promise<number>;
  /**
   * Ends the open cycle, whose sequence must be `fence.sequence`, for all disks at one instant, and opens the next one.
   * If repeated, returns the same cut. Freezing, cutting and thawing are one call, so that a caller that dies leaves no
   * guest frozen.
   */
  cut(vm: string, fence: Fence, options?: CutOptions): Promise<Cut>;
  /**
   * Like `cut`, and takes a VM snapshot at the same instant, with no request in flight. If repeated before the cut is
   * released, returns the same cut. A source that loses the cut also gives up the snapshot.
   * @throws InvalidVmState if this cycle was cut without a snapshot.
   */
  snapshotAndCut(vm: string, fence: Fence): Promise<Cut>;
  /** @throws CatalogueError CutGone, also while the change set is read. */
  openChangeSet(cut: Cut): Promise<ChangeSet>;
  /**
   * Releases this cut and all before it, because they have arrived. Has no effect if it is repeated or the epoch is
   * old.
   * @throws CatalogueError CutGone if the source has a different cut of this cycle: the writes between the two would
   * never be sent.
   */
  releaseCuts(upTo: CutIdentity): Promise<void>;
}
