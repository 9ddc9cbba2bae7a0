/** The state of a VM in the store, as far as it is needed to choose a recovery point. */
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

/** Includes the description it was read from. */
export interface KnownRecoveryState extends RecoveryState {
  readonly description: ReplicaDescription;
  readonly applied: AppliedState | undefined;
  readonly received: readonly CycleManifest[];
  readonly damaged: readonly DamagedRecord[];
}

/**
 * Undefined if the store does not know the VM. Damaged records are left out and named.
 * @throws CatalogueError StoreUnreachable; InvalidReplicaState if no copy of the description is intact.
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
  // Without the applied state, it is unknown which of these cycles the disks hold.
  const received = 'problem' in applied ? { cycles: [] } : await cyclesAfter(store, description, state);
  const records = await readPointRecords(store, vm);
  const { points, damaged: unreadable } = await readablePoints(store, vm, records.points);
  if (received.stoppedBy !== undefined) {
    damaged.push({ name: vaultPaths.cyclePrefix(vm), problem: received.stoppedBy });
  }
  damaged.push(...[...records.damaged, ...unreadable].map(({ name, problem }) => ({ name, problem })));
  const suspect = records.suspicionOf({ epoch, sequence: Number.MAX_SAFE_INTEGER });
  return {
    // If the fence is unknown, the replica's disks are not a usable state, and nothing can be applied.
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

/** Below the fence of any cycle. */
const UNKNOWN_FENCE: Fence = { epoch: 0, sequence: 0 };

/** A damaged record means only that there is no live replica to fail over to. */
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
