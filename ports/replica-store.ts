/**
 * A replica store as the engine needs it: the records of a vault, and the disks of its replicas. Different adapters may
 * keep the two halves, but they share their fences: raising a VM's fence in `objects` also shuts older writers out of
 * its disks.
 */
import type { Objects } from './objects.js';
import type { ReplicaDisks } from './replica-disks.js';

export interface ReplicaStore {
  readonly objects: Objects;
  readonly disks: ReplicaDisks;
  close(): Promise<void>;
}

/** For code that reads and writes records only. */
export type RecordStore = Pick<ReplicaStore, 'objects'>;

/** For code that reads and writes disks only. */
export type DiskStore = Pick<ReplicaStore, 'disks'>;
