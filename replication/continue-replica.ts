/**
 * Continues an existing replica in a new epoch without comparing it: only for a replica that was proven equal to its
 * source. Recovery points are kept.
 */
import { CatalogueError } from '../domain/errors.js';
import { formatFence, SEEDED_SEQUENCE } from '../domain/fence.js';
import { vaultPaths } from '../domain/vault.js';
import type { WrittenState } from '../ports/change-source.js';
import type { ReplicaStore } from '../ports/replica-store.js';
import { deleteAllCycles } from './cycles.js';
import { checkReplicaDisks } from './described-point.js';
import { readPointRecords } from './point-records.js';
import { readApplied, readDescription, vmFence, writeDescription } from './replica-state.js';
import { checkSameDisks } from './resync.js';

/**
 * The state of the source that the replica disks hold. A later cycle may have been begun: it contains writes after this
 * state, so a source without such writes has not cut it.
 * @returns why it is not certain what they hold, if so.
 * @throws CatalogueError InvalidReplicaState, StoreUnreachable
 */
export async function heldState(store: ReplicaStore, vm: string): Promise<WrittenState | { readonly problem: string }> {
  const description = await readDescription(store, vm);
  const applied = await readApplied(store, vm);
  if (!description || applied?.epoch !== description.epoch) return { problem: 'the replica held no complete cycle' };
  if (!applied.final) return { problem: 'the source was not shut down before its last changes were sent' };
  const damage = (await readPointRecords(store, vm)).suspicionOf(applied);
  if (damage !== undefined) return { problem: `the replica was found damaged: ${damage}` };
  await checkReplicaDisks(store, description);
  const lastWrites = Object.fromEntries(applied.disks.map(({ name, lastWrite }) => [name, lastWrite]));
  return { epoch: applied.epoch, lastWrites };
}

export interface ContinueTask {
  readonly vm: string;
  /** The new epoch, to which the fence has been raised. */
  readonly epoch: number;
  /** Disks of the source, sizes in bytes. */
  readonly disks: readonly { readonly name: string; readonly size: number }[];
}

/**
 * From here on, the first cycle of the epoch can be applied. Repeatable.
 * @throws CatalogueError StaleEpoch; InvalidReplicaState if the source has other disks.
 */
export async function continueReplica(store: ReplicaStore, { vm, epoch, disks }: ContinueTask): Promise<void> {
  const description = await readDescription(store, vm);
  if (!description) throw new CatalogueError('ReplicaMissing', `${vm}: there is no replica to continue`);
  const current = await store.objects.readFence(vaultPaths.vm(vm));
  if (current.epoch > epoch || description.epoch > epoch) {
    throw new CatalogueError(
      'StaleEpoch',
      `${vm}: asked to continue in ${epoch}, the store is at ${formatFence(current)}`,
    );
  }
  checkSameDisks(vm, description.disks, disks);
  if (current.epoch === epoch && current.sequence >= SEEDED_SEQUENCE) return;
  const fence = { epoch, sequence: 0 };
  await store.objects.raiseFence(vmFence(vm, fence));
  await deleteAllCycles(store, vm, vmFence(vm, fence));
  await writeDescription(store, { ...description, epoch }, fence);
  await store.objects.raiseFence(vmFence(vm, { epoch, sequence: SEEDED_SEQUENCE }));
}
