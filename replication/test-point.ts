/**
 * The recovery point of a test failover: chosen among the points that exist, held while the test VM runs from it, and
 * released by the clean-up.
 */
import { CatalogueError } from '../domain/errors.js';
import { chooseTestPoint } from '../domain/test-point.js';
import { vaultPaths, type RecoveryPoint, type TestHold } from '../domain/vault.js';
import type { ReplicaStore } from '../ports/replica-store.js';
import { describedAt } from './described-point.js';
import { pruneKept } from './make-room.js';
import { underCurrentFence } from './point-leases.js';
import { listPointIds } from './point-records.js';
import { deleteRecoveryPoints } from './recovery-points.js';
import { readRecoveryState } from './recovery-target.js';
import { readDescription, readVaultState } from './replica-state.js';
import { deleteTestHold, readTestHold, writeTestHold } from './test-hold.js';

/**
 * See `chooseTestPoint` of the domain; also checks that everything the point names exists.
 * @throws CatalogueError RecoveryPointNotFound, InvalidReplicaState
 */
export async function findTestPoint(store: ReplicaStore, vm: string, wanted: string): Promise<RecoveryPoint> {
  const state = await readRecoveryState(store, vm);
  if (!state) throw new CatalogueError('InvalidReplicaState', `the vault holds no description of ${vm}`);
  const point = chooseTestPoint(state, wanted);
  await describedAt(store, state.description, point);
  return point;
}

/** How often a point is chosen, if each is pruned at that moment. */
const ATTEMPTS = 5;

/**
 * Chooses a point and holds it. Repeated by the same job, returns the same point; replaces a hold that another job has
 * left behind.
 *
 * Whoever deletes points deletes their records first, then looks at the hold again, and deletes snapshots last. So if
 * the record still exists once the hold does, the snapshots stay.
 * @throws CatalogueError as `findTestPoint`
 */
export async function holdTestPoint(
  store: ReplicaStore,
  { vm, wanted, testVm, jobId, since }: { vm: string; wanted: string } & Pick<TestHold, 'testVm' | 'jobId' | 'since'>,
): Promise<TestHold['of']> {
  const held = await readTestHold(store, vm);
  if (held?.jobId === jobId && (await isRecorded(store, vm, held.of.id))) return held.of;
  for (let attempt = 1; ; attempt += 1) {
    const { id, epoch, sequence, time, disks } = await findTestPoint(store, vm, wanted);
    const hold: TestHold = { testVm, jobId, since, of: { id, epoch, sequence, time, disks } };
    await underCurrentFence(store, vm, async (fence) => await writeTestHold(store, vm, hold, fence));
    if (await isRecorded(store, vm, id)) return hold.of;
    if (attempt === ATTEMPTS)
      throw new CatalogueError('RecoveryPointNotFound', `${vm}: recovery point ${id} was deleted while it was chosen`);
  }
}

const isRecorded = async (store: ReplicaStore, vm: string, id: string): Promise<boolean> =>
  (await listPointIds(store, vm)).includes(id);

/** The point that the job holds. @throws CatalogueError InvalidReplicaState */
export async function heldTestPoint(store: ReplicaStore, vm: string, jobId: string): Promise<TestHold['of']> {
  const held = await readTestHold(store, vm);
  if (held?.jobId === jobId) return held.of;
  throw new CatalogueError('InvalidReplicaState', `${vaultPaths.testHold(vm)} is missing; clean up and test again`);
}

/**
 * Removes the hold, and deletes what was kept only because of it. Repeatable.
 * @returns how many recovery points were deleted.
 */
export async function releaseTestPoint(store: ReplicaStore, vm: string): Promise<number> {
  const held = await readTestHold(store, vm);
  await underCurrentFence(store, vm, async (fence) => await deleteTestHold(store, vm, fence));
  if (!held) return 0;
  try {
    const state = await readVaultState(store, vm);
    if (state?.phase === 'Committed') {
      const { epoch, recoveryPoint } = state;
      return (await deleteRecoveryPoints(store, { vm, epoch, keep: [recoveryPoint] })).length;
    }
    const description = await readDescription(store, vm);
    if (state || !description || description.unprotectedAt !== undefined) return 0;
    return await pruneKept(store, { vm, epoch: description.epoch });
  } catch (error) {
    // Another epoch has begun meanwhile; it prunes by itself.
    if (error instanceof CatalogueError && (error.code === 'StaleEpoch' || error.code === 'ReplicaMissing')) return 0;
    throw error;
  }
}
