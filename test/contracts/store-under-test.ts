import type { ReplicaStore } from '../../ports/replica-store.js';

/** Of an adapter, for the contracts that it has to hold. */
export interface StoreUnderTest {
  /** Opens the store, new and empty at first, once more. */
  open(): Promise<ReplicaStore>;
}
