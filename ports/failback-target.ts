/**
 * Where a VM that runs at the recovery site is brought back to. Its original disks stay as they were: a differencing
 * layer above each of them receives the changes, and the VM boots from the layers. A commit merges them into the
 * originals; until then they can be discarded.
 *
 * Every operation can be repeated: doing it twice has the same result as doing it once.
 */
import type { Fence } from '../domain/fence.js';
import type { DiskWrite } from '../domain/last-cut.js';
import type { Range } from '../domain/ranges.js';

/** The layers of a VM, as its hypervisor describes them. */
export interface FailbackState {
  readonly epoch: number;
  /** Sequence of the newest change set that the layers hold; undefined if they hold none. */
  readonly received?: number;
  /** Set once the layers are part of the disks: they are being merged. */
  readonly isCommitted?: boolean;
  /**
   * What proves that nothing has changed the originals since the source was shut down; undefined if nothing proves it.
   * The numbers are those of the last cut in that epoch.
   */
  readonly original?: { readonly epoch: number; readonly lastWrites: readonly DiskWrite[] };
}

/** @throws CatalogueError HypervisorUnreachable, VmNotFound, DiskMissing, InvalidVmState, SourceDiskFull. */
export interface FailbackTarget {
  /**
   * Creates the layers of a VM that is off, and ends replication from it. Repeated in the same epoch, it keeps them and
   * what they hold. Layers of an older epoch that were not committed are discarded.
   * @throws InvalidVmState if the VM runs, or if layers are being merged; StaleEpoch if the VM is fenced by a newer
   * epoch, or has newer layers.
   */
  beginFailback(vm: string, epoch: number): Promise<FailbackState>;
  /**
   * Opens the layers for one change set; whoever had opened them before is shut out.
   * @returns undefined if the layers already hold it.
   * @throws OutOfSequence if it does not follow the newest one that they hold; InvalidVmState if the VM has no layers
   * of this epoch.
   */
  openFailback(vm: string, fence: Fence): Promise<FailbackLayers | undefined>;
  /**
   * Makes the layers a part of the disks: from now on they can't be discarded. `mergeSnapshot` merges them, also while
   * the VM runs. Has no effect if the VM has no layers. @throws InvalidVmState if they are of a newer epoch.
   */
  commitFailback(vm: string, epoch: number): Promise<void>;
  /** Deletes the layers of this epoch and older ones. @throws InvalidVmState if they are committed, or the VM runs. */
  discardFailback(vm: string, epoch: number): Promise<void>;
}

/** The layers of all disks of a VM, opened for one change set. */
export interface FailbackLayers {
  /** @throws CatalogueError DiskMissing if the VM has no such replicated disk. */
  disk(name: string): FailbackDisk;
  /** Makes everything written durable, and records that the layers hold the change set. */
  complete(): Promise<void>;
  close(): Promise<void>;
}

/** A disk as the VM will see it: the layer, and the original below it. */
export interface FailbackDisk {
  /** Virtual size, bytes. */
  readonly size: number;
  /** @param target at most 32 MiB. */
  read(target: Buffer, offset: number): Promise<void>;
  /** @param data at most 32 MiB. */
  write(data: Buffer, offset: number): Promise<void>;
  writeZeroes(range: Range): Promise<void>;
}
