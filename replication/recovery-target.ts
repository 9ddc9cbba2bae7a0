/** What the store holds of a VM now, as far as choosing a recovery point needs it. */
import { CatalogueError } from '../domain/errors.js';
import type { Fence } from '../domain/fence.js';
import type { RecoveryState } from '../domain/recovery-point.js';
import {
  vaultPaths,
  type AppliedState,
  type CycleManifest,
  type DamagedRecord,
  type ReplicaDescription,
} from '../domain/vault.js';
import type { RecordStore, ReplicaStore } from '../ports/replica-store.js';
import { readAppliedOf } from './applied-state.js';
import { cyclesAfter } from './received-cycles.js';
import { readablePoints, readPointRecords } from './point-records.js';
import { readDescription, readFenceIfWhole } from './replica-state.js';

/** With what it was read from. */
export interface KnownRecoveryState extends RecoveryState {
  readonly description: ReplicaDescription;
  readonly applied: AppliedState | undefined;
  readonly received: readonly CycleManifest[];
  readonly damaged: readonly DamagedRecord[];
}

/**
 * Undefined while the store knows no such VM. What is damaged is left out, and named.
 * @throws CatalogueError StoreUnreachable; InvalidReplicaState when no copy of the description is whole.
 */
export async function readRecoveryState(store: ReplicaStore, vm: string): Promise<KnownRecoveryState | undefined> {
  const description = await readDescription(store, vm);
  if (!description) return undefined;
  const { epoch } = description;
  const applied = await readAppliedIfWhole(store, description);
  const damaged: DamagedRecord[] = [];
  const fence = await readFenceIfWhole(store, vm);
  if (!fence) damaged.push({ name: vaultPaths.vm(vm), problem: `the fence of ${vaultPaths.vm(vm)} is damaged` });
  if ('problem' in applied) damaged.push(applied);
  const state = 'problem' in applied ? undefined : applied.state;
  // Without it nobody knows which of them the disks hold.
  const received = 'problem' in applied ? { cycles: [] } : await cyclesAfter(store, description, state);
  const records = await readPointRecords(store, vm);
  const { points, damaged: unreadable } = await readablePoints(store, vm, records.points);
  if (received.stoppedBy !== undefined) {
    damaged.push({ name: vaultPaths.cyclePrefix(vm), problem: received.stoppedBy });
  }
  damaged.push(...[...records.damaged, ...unreadable].map(({ name, problem }) => ({ name, problem })));
  const suspect = records.suspicionOf({ epoch, sequence: Number.MAX_SAFE_INTEGER });
  return {
    // Behind one that nobody knows the replica's disks are no state, and nothing can be applied.
    ...{
      vm,
      epoch,
      fence: fence ?? UNKNOWN_FENCE,
      applied: state,
      received: received.cycles,
      points,
      description,
      damaged,
    },
    ...(suspect !== undefined && { suspect }),
  };
}

/** Below that of any cycle. */
const UNKNOWN_FENCE: Fence = { epoch: 0, sequence: 0 };

/** One that is damaged says no more than that there is no live replica to go back to. */
export async function readAppliedIfWhole(
  store: RecordStore,
  description: ReplicaDescription,
): Promise<{ readonly state: AppliedState | undefined } | DamagedRecord> {
  try {
    return { state: await readAppliedOf(store, description) };
  } catch (error) {
    if (!(error instanceof CatalogueError) || error.code !== 'InvalidReplicaState') throw error;
    return { name: vaultPaths.applied(description.vm), problem: error.detail };
  }
}
