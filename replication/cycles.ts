/** The cycles in the store, and when they are deleted. */
import { LAST_SEQUENCE } from '../domain/fence.js';
import { cycleName } from '../domain/ids.js';
import { vaultPaths } from '../domain/vault.js';
import type { WriteFence } from '../ports/objects.js';
import type { RecordStore } from '../ports/replica-store.js';
import { deleteKept, listKept } from './kept-record.js';
import { readLeases } from './point-leases.js';
import { inParallel } from '../concurrency/in-parallel.js';
import { fenceOfEpoch, readApplied } from './replica-state.js';

/** Number of applied cycles that are kept for investigations. */
const KEPT_CYCLES = 2;

/**
 * Deletes the change files and manifests of cycles that can no longer be applied: all of older epochs, and all of this
 * epoch except the newest two applied ones.
 * @returns number of deleted cycles. @throws CatalogueError StaleEpoch
 */
export async function pruneCycles(store: RecordStore, { vm, epoch }: { vm: string; epoch: number }): Promise<number> {
  const fence = await fenceOfEpoch(store, vm, epoch);
  const applied = await readApplied(store, vm);
  const newest = applied?.epoch === epoch ? applied.sequence : 0;
  const leases = await readLeases(store, vm);
  if (leases.keepAll) return 0;
  // The names sort in the order of the cycles.
  const firstKept = leases.firstCycle(cycleName(epoch, Math.max(0, newest - KEPT_CYCLES + 1)));
  return await deleteCycles(store, vm, fence, (cycle) => cycle < firstKept);
}

/** For a replica that begins again from nothing. */
export async function deleteAllCycles(store: RecordStore, vm: string, fence: WriteFence): Promise<void> {
  await deleteCycles(store, vm, fence, () => true);
}

/** Deletes the change sets of failbacks: those of all epochs after this one. @throws CatalogueError StaleEpoch */
export async function deleteCyclesAfter(
  store: RecordStore,
  vm: string,
  epoch: number,
  fence: WriteFence,
): Promise<void> {
  const last = cycleName(epoch, LAST_SEQUENCE);
  await deleteCycles(store, vm, fence, (cycle) => cycle > last);
}

async function deleteCycles(
  store: RecordStore,
  vm: string,
  fence: WriteFence,
  goes: (cycle: string) => boolean,
): Promise<number> {
  const prefix = vaultPaths.cyclePrefix(vm);
  const cycles = new Map<string, string[]>();
  for (const name of await listKept(store.objects, prefix)) {
    const cycle = name.slice(prefix.length).split('/', 1)[0]!;
    if (goes(cycle)) cycles.set(cycle, [...(cycles.get(cycle) ?? []), name]);
  }
  await inParallel(cycles.values(), 4, async (names) => {
    // The manifest first: half a cycle must not look complete.
    const manifests = names.filter((name) => name.endsWith('/manifest.json'));
    for (const name of manifests) await deleteKept(store.objects, name, fence);
    for (const name of names) if (!manifests.includes(name)) await store.objects.delete(name, fence);
  });
  return cycles.size;
}
