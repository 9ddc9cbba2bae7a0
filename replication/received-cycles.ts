/** The cycles that have arrived whole, and are not in the replica yet. */
import type { CycleManifest } from '../domain/vault.js';
import type { Fence } from '../domain/fence.js';
import type { ReplicaStore } from '../sites/ports.js';
import { readManifest } from './ship.js';

/** Those that follow a state without a gap, oldest first. */
export async function cyclesAfter(store: ReplicaStore, vm: string, state: Fence): Promise<CycleManifest[]> {
  const found: CycleManifest[] = [];
  for (let sequence = state.sequence + 1; ; sequence += 1) {
    const manifest = await readManifest(store, vm, { epoch: state.epoch, sequence });
    if (!manifest) return found;
    found.push(manifest);
  }
}
