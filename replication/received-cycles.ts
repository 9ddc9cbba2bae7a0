/** The cycles that have arrived whole, and are not in the replica yet. */
import { cycleName } from '../domain/ids.js';
import { vaultPaths, type CycleManifest } from '../domain/vault.js';
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

/** Of the newest cycle of an epoch that has a manifest, applied or not. */
export async function newestReceived(store: ReplicaStore, vm: string, epoch: number): Promise<number | undefined> {
  const prefix = vaultPaths.cyclePrefix(vm);
  const epochPrefix = cycleName(epoch, 0).split('-', 1)[0]!;
  const names = await store.listObjects(`${prefix}${epochPrefix}-`);
  const sequences = names
    .filter((name) => name.endsWith('/manifest.json'))
    .map((name) => Number(name.slice(prefix.length).split('/', 1)[0]!.split('-')[1]));
  return sequences.length > 0 ? Math.max(...sequences) : undefined;
}
