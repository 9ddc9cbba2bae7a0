/** The replica store, as the engine needs it: objects and page blobs under the same fences. */
import type { Objects } from './objects.js';
import type { PageBlobs } from './page-blobs.js';

export interface ReplicaStore {
  readonly objects: Objects;
  readonly pageBlobs: PageBlobs;
  close(): Promise<void>;
}
