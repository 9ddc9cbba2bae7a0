/** A store that is full may hold what the VM's policy keeps no longer: it goes before anything else fails. */
import { CatalogueError } from '../domain/errors.js';
import { retentionStart } from '../domain/recovery-point.js';
import type { ReplicaStore } from '../ports/replica-store.js';
import { pruneCycles } from './cycles.js';
import { pruneRecoveryPoints } from './recovery-points.js';
import { readApplied, readPolicy } from './replica-state.js';

/**
 * Runs work that can be repeated; once more when the store was full and room could be made.
 * @throws CatalogueError StoreFull when none could, or it was not enough; else as the work does.
 */
export async function withRoom<T>(
  store: ReplicaStore,
  of: { readonly vm: string; readonly epoch: number },
  work: () => Promise<T>,
): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (!(error instanceof CatalogueError) || error.code !== 'StoreFull' || !(await makeRoom(store, of))) throw error;
    return await work();
  }
}

/** @returns whether anything went. @throws CatalogueError StaleEpoch */
async function makeRoom(store: ReplicaStore, { vm, epoch }: { vm: string; epoch: number }): Promise<boolean> {
  const cycles = await pruneCycles(store, { vm, epoch });
  const policy = await readPolicy(store, vm);
  const applied = await readApplied(store, vm);
  if (!policy || !applied) return cycles > 0;
  const until = Date.now();
  const retainedFrom = retentionStart(applied.sealedAt, until, policy.recoveryPointRetentionHours);
  const { gone } = await pruneRecoveryPoints(store, { vm, epoch, retainedFrom, until });
  return cycles > 0 || gone.length > 0;
}
