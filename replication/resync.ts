/**
 * Begins a resynchronization at the replica: a new epoch on the disks as they are. Recovery points stay. From here until
 * the first cycle of the epoch is applied the live replica is a mixture, and no recovery point:
 * `applied.json` is of an older epoch than `description.json`.
 */
import { CatalogueError } from '../domain/errors.js';
import { compareFences, formatFence, LAST_SEQUENCE } from '../domain/fence.js';
import { vaultPaths } from '../domain/vault.js';
import type { ReplicaStore } from '../sites/ports.js';
import { deleteAllCycles } from './cycles.js';
import { readDescription, vmFence, writeDescription } from './replica-state.js';
import { deleteSeedRecords } from './seed-record.js';

export interface ResyncTask {
  readonly vm: string;
  /** The new epoch. */
  readonly epoch: number;
  /** Of the source, sizes in bytes. */
  readonly disks: readonly { readonly name: string; readonly size: number }[];
}

/**
 * Run again under the same epoch it changes nothing. Everything is done just below the new epoch's first fence, which is
 * raised last: an attempt that was thought dead can't delete what was copied since.
 * @throws CatalogueError StaleEpoch; InvalidReplicaState when there is no replica, or one of other disks.
 */
export async function beginResync(store: ReplicaStore, { vm, epoch, disks }: ResyncTask): Promise<void> {
  const description = await readDescription(store, vm);
  const current = await store.readFence(vaultPaths.vm(vm));
  if (!description) throw new CatalogueError('InvalidReplicaState', `${vm}: there is no replica to resynchronize`);
  if (current.epoch > epoch || description.epoch > epoch) {
    throw new CatalogueError('StaleEpoch', `${vm}: asked to begin ${epoch}, the store is at ${formatFence(current)}`);
  }
  checkSameDisks(vm, description.disks, disks);
  const preparing = { epoch: epoch - 1, sequence: LAST_SEQUENCE };
  if (description.epoch < epoch && compareFences(current, preparing) <= 0) {
    await store.raiseFence(vmFence(vm, preparing));
    await deleteSeedRecords(store, vm, vmFence(vm, preparing));
    await deleteAllCycles(store, vm, vmFence(vm, preparing));
    await writeDescription(store, { ...description, epoch }, preparing);
  }
  await store.raiseFence(vmFence(vm, { epoch, sequence: 0 }));
}

type Sizes = readonly { readonly name: string; readonly size: number }[];

function checkSameDisks(vm: string, replica: Sizes, source: Sizes): void {
  const told = (disks: Sizes) =>
    disks
      .map(({ name, size }) => `${name} of ${size} bytes`)
      .toSorted()
      .join(', ');
  if (told(replica) === told(source)) return;
  throw new CatalogueError(
    'InvalidReplicaState',
    `${vm}: the source has ${told(source)}; the replica was made for ${told(replica)}`,
  );
}
