/**
 * A source of changes, as the engine and the agent's activities need it: whoever runs the VMs of a side and can tell what
 * was written to their disks. Sealed change logs are one way to know it, a host's own change tracking another.
 * Every operation can be repeated: done twice it leaves what once would have left.
 */
import type { AppConsistentFailure } from '../domain/app-consistency.js';
import type { Fence } from '../domain/fence.js';
import type { Range } from '../domain/ranges.js';
import type { ReadableDisk } from '../disks/disk.js';
import type { VmInventory } from './hypervisor-vm.js';

/** Which cut it is. A manifest tells it, too. */
export interface CutIdentity extends Fence {
  readonly vm: string;
  readonly disks: readonly Pick<CutDisk, 'name' | 'token'>[];
}

/** All disks of a VM at one instant, and what changed on them since the cut before. */
export interface Cut extends CutIdentity {
  readonly sealedAt: string;
  /** True when the VM was shut down, its exports closed, at that instant. */
  readonly final: boolean;
  /** The guest was frozen at that instant. */
  readonly appConsistent?: boolean;
  /** It was to be, and was not: the cut is crash-consistent. */
  readonly appConsistentFailure?: AppConsistentFailure;
  readonly disks: readonly CutDisk[];
}

export interface CutDisk {
  readonly name: string;
  /** Virtual size, bytes. */
  readonly size: number;
  /**
   * By what the source finds it again. Nobody else reads it: it is kept, handed back and compared. No two cuts have the
   * same token for a disk, not even two that were made under the same number.
   */
  readonly token: string;
  /**
   * Number of the last write that the cut holds. Numbers run on within an epoch, from cut to cut. Where writes can't be
   * counted, any number that is higher whenever something was written in between.
   */
  readonly lastWrite: number;
}

export interface CutOptions {
  /** Freeze the guest for the cut, for no longer than this, ms. Where that fails the cut is made all the same, and says why. */
  readonly appConsistent?: { readonly deadlineMs: number };
  /** Only one that was made before: none is made. @throws CatalogueError CutGone when there is none. */
  readonly existing?: boolean;
}

/** What changed on every disk of a VM up to one instant. */
export interface ChangeSet {
  readonly disks: readonly DiskChanges[];
  close(): Promise<void>;
}

export interface DiskChanges {
  readonly name: string;
  /**
   * Some at a time; all together sorted, without overlap, 512-aligned. Of any length; `zero` ranges carry no data. The same
   * each time they are gone through; there may be millions, so nobody keeps them.
   */
  readonly ranges: AsyncIterable<readonly ChangeRange[]>;
  /**
   * Content of a part of a range, at the instant of the change set.
   * @param part lies within the range, 512-aligned; no longer than who asks can hold.
   * @throws CatalogueError LogBroken when a checksum fails, CutGone.
   */
  read(range: ChangeRange, part: Range): Promise<Buffer>;
}

export interface ChangeRange extends Range {
  /** It is known to be all zeroes. A source that can't tell says false. */
  readonly zero: boolean;
  /** Where the source keeps it; means nothing to anyone else. */
  readonly position: number;
}

/**
 * A source may lose what it has cut, until the cut is released: with a snapshot that the host gave up, for example. It then
 * says CutGone to whoever goes on with that cut, and cuts the same cycle again when asked: all that has changed since the
 * last cut that was released, and so all that the lost one held. What it can't tell any more marks the VM.
 * @throws CatalogueError HypervisorUnreachable, VmNotFound, DiskMissing, InvalidVmState, ResyncRequired.
 */
export interface ChangeSource extends VmInventory {
  /** Takes a VM snapshot and starts tracking at the same instant, with nothing in flight. Repeated with the same epoch: nothing. */
  beginReplication(vm: string, epoch: number): Promise<void>;
  /** Stops tracking, merges a snapshot that is left, lets go of all cuts. */
  endReplication(vm: string): Promise<void>;
  /** A disk as it was when the snapshot was taken. @throws CatalogueError SnapshotGivenUp, InvalidVmState when there is none. */
  openSnapshotDisk(vm: string, epoch: number, disk: string): Promise<ReadableDisk>;
  /** Merges for a while. @returns bytes still to merge; 0 when the snapshot is gone. */
  mergeSnapshot(vm: string): Promise<number>;
  /**
   * Ends the open cycle (`fence.sequence` must be its) for all disks at one instant, and opens the next. Repeated: answers
   * with the same cut. Freezing, cutting and thawing are this one call: a caller that dies leaves no guest frozen.
   */
  cut(vm: string, fence: Fence, options?: CutOptions): Promise<Cut>;
  /**
   * As `cut`, and in the same instant, with nothing in flight, takes a VM snapshot. Repeated until the cut is released: the
   * same cut. A source that loses the cut gives up the snapshot, too. @throws InvalidVmState when this cycle was cut without
   * one.
   */
  snapshotAndCut(vm: string, fence: Fence): Promise<Cut>;
  /** @throws CatalogueError CutGone; going through it may throw that, too. */
  openChangeSet(cut: Cut): Promise<ChangeSet>;
  /**
   * What was cut has arrived: lets go of this cut and those before it. Repeated, or of an older epoch: nothing.
   * @throws CatalogueError CutGone when this is not the cut that it has of this cycle: what was written between the two
   * would never be told.
   */
  releaseCuts(upTo: CutIdentity): Promise<void>;
}
