/**
 * A replica store, as the engine needs it: the records of a vault, and the disks of its replicas. The halves may be kept by
 * different adapters, but share their fences: raising that of a VM in `objects` shuts older writers out of its disks, too.
 */
import type { Objects } from './objects.js';
import type { ReplicaDisks } from './replica-disks.js';

export interface ReplicaStore {
  readonly objects: Objects;
  readonly disks: ReplicaDisks;
  close(): Promise<void>;
}
