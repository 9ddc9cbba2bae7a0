import type { ReplicaStore } from '../../ports/replica-store.js';

/** Of an adapter, for the contracts that it has to hold. */
export interface StoreUnderTest {
  /** Opens the store, new and empty at first, once more. */
  open(): Promise<ReplicaStore>;
}

/** Fences beside one at epoch 2, sequence 5: their names, and whether a write that carries them is accepted. */
export const besideFence = <F>(
  at: (epoch: number, sequence: number) => F,
): [name: string, fence: F, accepted: boolean][] => [
  ['an older epoch', at(1, 9), false],
  ['an older sequence', at(2, 4), false],
  ['the same fence', at(2, 5), true],
  ['a newer sequence', at(2, 6), true],
  ['a newer epoch', at(3, 0), true],
];
