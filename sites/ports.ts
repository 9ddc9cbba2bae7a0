/**
 * The ports: what the engine and the activities need of the two sites. Adapters live in the folders beside this file.
 * Every operation can be repeated: done twice it leaves what once would have left.
 */
import type { AppConsistentFailure } from '../domain/app-consistency.js';
import type { FailureCode } from '../domain/errors.js';
import type { Fence } from '../domain/fence.js';
import type { Range } from '../domain/ranges.js';
import type { ReplicaDescription } from '../domain/vault.js';
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
  /** Refused with StaleEpoch when the VM has been failed over under a newer epoch. */
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

/** A fence and what it fences: everything below `scope` (a prefix of object names, one VM's folder). */
export interface WriteFence extends Fence {
  readonly scope: string;
}

/** `data` undefined clears the pages of `length` bytes. Offsets and lengths are multiples of 512. */
export type PageWrite =
  | { readonly offset: number; readonly data: Buffer }
  | { readonly offset: number; readonly clear: number };

export interface WriteOptions {
  /** The caller reads back all it writes and compares: a checksum on the way would be work done twice. */
  readonly isReadBack?: boolean;
}

/**
 * The replica store: objects and page blobs, as a storage account has them. Names are slash-separated.
 * Whatever resolves is durable: on stable storage, not in a cache.
 * @throws CatalogueError StoreUnreachable, StoreFull, StaleEpoch (fenced), InvalidReplicaState.
 */
export interface ReplicaStore {
  /** Replaces the whole object at once; a reader sees the old or the new. */
  putObject(name: string, data: Buffer, fence: WriteFence): Promise<void>;
  /** @returns false, and changes nothing, when the object is there already. */
  putObjectIfAbsent(name: string, data: Buffer, fence: WriteFence): Promise<boolean>;
  /** As `putObject` for what does not fit in memory. Nothing is seen of it before it is whole. */
  uploadObject(name: string, chunks: AsyncIterable<Buffer>, fence: WriteFence): Promise<void>;
  getObject(name: string): Promise<Buffer | undefined>;
  /** Reads a part. @throws InvalidReplicaState when there is no such object or it is shorter. */
  readObject(name: string, offset: number, length: number): Promise<Buffer>;
  /** As `readObject`, into a buffer that the caller uses again. */
  readObjectInto(name: string, offset: number, target: Buffer): Promise<void>;
  /** Names below a prefix, sorted. */
  listObjects(prefix: string): Promise<string[]>;
  deleteObject(name: string, fence: WriteFence): Promise<void>;

  /** All zeroes. Repeated with the same size: nothing; with another: InvalidReplicaState. */
  createPageBlob(name: string, size: number, fence: WriteFence): Promise<void>;
  /**
   * To a larger size, zeroes behind what there was; snapshots keep the size and the content they have. Repeated with the
   * same size: nothing. @throws InvalidReplicaState when there is no such blob, or it is larger.
   */
  resizePageBlob(name: string, size: number, fence: WriteFence): Promise<void>;
  /** Bytes, of the blob or of a snapshot of it; undefined when there is no such blob. @throws InvalidReplicaState when it has no such snapshot. */
  pageBlobSize(name: string, snapshot?: string): Promise<number | undefined>;
  writePages(name: string, writes: readonly PageWrite[], fence: WriteFence, options?: WriteOptions): Promise<void>;
  readPages(name: string, offset: number, length: number, snapshot?: string): Promise<Buffer>;
  /** Fills `target` with what is stored, rather than with what some cache remembers of it: for reading back. */
  readPagesInto(name: string, offset: number, target: Buffer): Promise<void>;
  /** Parts of a range that may hold anything but zeroes, sorted. */
  listPageRanges(name: string, range: Range, snapshot?: string): Promise<Range[]>;
  deletePageBlob(name: string, fence: WriteFence): Promise<void>;
  /** Copies nothing. @returns its id; ids of one blob sort by age. */
  snapshotPageBlob(name: string, fence: WriteFence): Promise<string>;
  listSnapshots(name: string): Promise<string[]>;
  deleteSnapshot(name: string, snapshot: string, fence: WriteFence): Promise<void>;

  /** From when it resolves on, every write below the scope that carries an older fence is refused. Never lowers it. */
  raiseFence(fence: WriteFence): Promise<void>;
  readFence(scope: string): Promise<Fence>;
  close(): Promise<void>;
}

export interface ReplicaVmSpec {
  readonly description: ReplicaDescription;
  /** The epoch this VM may run under. */
  readonly epoch: number;
  /** Page blob and snapshot each disk starts from. */
  readonly disks: readonly { readonly name: string; readonly blob: string; readonly snapshot: string }[];
}

/**
 * Compute at the recovery side.
 * @throws CatalogueError StaleEpoch, VmNotFound, InvalidVmState, RecoverySideNotAnswering.
 */
export interface RecoveryCompute {
  listVms(): Promise<HypervisorVm[]>;
  /** Creates the replica VM, powered off. Repeated with the same spec: nothing. */
  createVm(spec: ReplicaVmSpec): Promise<void>;
  startVm(vm: string, epoch: number): Promise<HypervisorVm>;
  turnOffVm(vm: string): Promise<void>;
  deleteVm(vm: string): Promise<void>;
}
