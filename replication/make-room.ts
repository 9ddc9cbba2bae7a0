/**
 * Room for what is to be written: what a VM's policy keeps no longer goes before a cycle is applied, and before anything
 * fails because the store is full.
 *
 * Any holder of the VM's epoch may prune; an older one is refused as with every other write. The agent does, too: a change
 * file or a slice that does not fit would otherwise wait for a cycle that never arrives. But what is expired is not for the
 * source's clock to say, as one that runs ahead would delete what is to stay: the agent is told the time.
 * Nothing of another VM is touched: its next cycle prunes that. So an initial copy, which begins without recovery points,
 * finds nothing here that could go.
 */
import { CatalogueError } from '../domain/errors.js';
import { retentionStart, type Retention } from '../domain/recovery-point.js';
import { toIso, toMs } from '../domain/time.js';
import type { RecordStore, ReplicaStore } from '../ports/replica-store.js';
import { pruneCycles } from './cycles.js';
import { pruneRecoveryPoints, type Pruned } from './recovery-points.js';
import { readApplied, readPolicy } from './replica-state.js';

export interface RoomFor {
  readonly vm: string;
  readonly epoch: number;
  /** `kept`: the policy that the VM was last replicated by, and this machine's clock. Undefined: no recovery point goes. */
  readonly retention: Retention | 'kept' | undefined;
}

/**
 * Runs work that can be repeated; once more when the store was full and room could be made.
 * @throws CatalogueError StoreFull when none could, or it was not enough; else as the work does.
 */
export async function withRoom<T>(store: ReplicaStore, of: RoomFor, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (!(error instanceof CatalogueError) || error.code !== 'StoreFull' || !(await makeRoom(store, of))) throw error;
    return await work();
  }
}

/** @param sealedAt of the newest cycle that is proven to have arrived, ISO 8601. @throws CatalogueError StaleEpoch */
export async function pruneExpired(
  store: ReplicaStore,
  task: { readonly vm: string; readonly epoch: number; readonly sealedAt: string; readonly retention: Retention },
): Promise<Pruned> {
  const { vm, epoch, sealedAt, retention } = task;
  const until = toMs(retention.at);
  const retainedFrom = retentionStart(sealedAt, until, retention.hours);
  return await pruneRecoveryPoints(store, { vm, epoch, retainedFrom, until });
}

/** @returns whether anything went. @throws CatalogueError StaleEpoch */
async function makeRoom(store: ReplicaStore, { vm, epoch, retention }: RoomFor): Promise<boolean> {
  const cycles = await pruneCycles(store, { vm, epoch });
  const known = retention === 'kept' ? await keptRetention(store, vm) : retention;
  const applied = await readApplied(store, vm);
  if (!known || !applied) return cycles > 0;
  const { gone } = await pruneExpired(store, { vm, epoch, sealedAt: applied.sealedAt, retention: known });
  return cycles > 0 || gone.length > 0;
}

async function keptRetention(store: RecordStore, vm: string): Promise<Retention | undefined> {
  const policy = await readPolicy(store, vm);
  return policy && { hours: policy.recoveryPointRetentionHours, at: toIso(Date.now()) };
}
