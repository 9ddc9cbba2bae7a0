/**
 * Makes room for new data: deletes recovery points that have expired under a VM's policy, before a cycle is applied,
 * and before any work fails because the store is full.
 *
 * Any holder of the VM's epoch may prune; an older one is refused like any other writer. The agent prunes, too:
 * otherwise a change file or slice that does not fit would wait for a cycle that never arrives. But the source's clock
 * must not decide what has expired, because a clock that runs ahead would delete points that should stay: the agent is
 * told the time. Data of other VMs is not touched; their next cycles prune it. So an initial copy, which begins without
 * recovery points, finds nothing to delete here.
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
  /**
   * `kept`: the policy with which the VM was last replicated, and this machine's clock. Undefined: no recovery points
   * are deleted.
   */
  readonly retention: Retention | 'kept' | undefined;
}

/**
 * Runs work that is repeatable; runs it once more if the store was full and room could be made.
 * @throws CatalogueError StoreFull if no room, or not enough, could be made; otherwise the errors of the work.
 */
export async function withRoom<T>(store: ReplicaStore, of: RoomFor, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (!(error instanceof CatalogueError) || error.code !== 'StoreFull' || !(await makeRoom(store, of))) throw error;
    return await work();
  }
}

/**
 * @param sealedAt seal time of the newest cycle that has verifiably arrived, ISO 8601. @throws CatalogueError
 * StaleEpoch
 */
export async function pruneExpired(
  store: ReplicaStore,
  task: { readonly vm: string; readonly epoch: number; readonly sealedAt: string; readonly retention: Retention },
): Promise<Pruned> {
  const { vm, epoch, sealedAt, retention } = task;
  const until = toMs(retention.at);
  const retainedFrom = retentionStart(sealedAt, until, retention.hours);
  return await pruneRecoveryPoints(store, { vm, epoch, retainedFrom, until });
}

/** @returns whether anything was deleted. @throws CatalogueError StaleEpoch */
async function makeRoom(store: ReplicaStore, { vm, epoch, retention }: RoomFor): Promise<boolean> {
  const cycles = await pruneCycles(store, { vm, epoch });
  const known = retention === 'kept' ? await keptRetention(store, vm) : retention;
  const applied = await readApplied(store, vm);
  if (!known || !applied) return cycles > 0;
  const { gone } = await pruneExpired(store, { vm, epoch, sealedAt: applied.sealedAt, retention: known });
  return cycles > 0 || gone.length > 0;
}

/**
 * Deletes the points that have expired under the policy with which the VM was last replicated.
 * @returns how many. @throws CatalogueError StaleEpoch
 */
export async function pruneKept(
  store: ReplicaStore,
  { vm, epoch }: { readonly vm: string; readonly epoch: number },
): Promise<number> {
  const retention = await keptRetention(store, vm);
  const applied = await readApplied(store, vm);
  if (!retention || applied?.epoch !== epoch) return 0;
  return (await pruneExpired(store, { vm, epoch, sealedAt: applied.sealedAt, retention })).gone.length;
}

async function keptRetention(store: RecordStore, vm: string): Promise<Retention | undefined> {
  const policy = await readPolicy(store, vm);
  return policy && { hours: policy.recoveryPointRetentionHours, at: toIso(Date.now()) };
}
