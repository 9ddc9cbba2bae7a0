/** Which recovery point is meant, by what the store holds of a VM now. */
import type { RecoveryState } from '../domain/recovery-point.js';
import type { ReplicaStore } from '../sites/ports.js';
import { listReceivedCycles } from './cycles.js';
import { listRecoveryPoints } from './recovery-points.js';
import { readApplied, readDescription } from './replica-state.js';

/** Undefined while the store knows no such VM. @throws CatalogueError StoreUnreachable, InvalidReplicaState */
export async function readRecoveryState(store: ReplicaStore, vm: string): Promise<RecoveryState | undefined> {
  const description = await readDescription(store, vm);
  if (!description) return undefined;
  const { epoch } = description;
  // The replica before the cycles: what is applied meanwhile is then among both, never among neither.
  const applied = await readApplied(store, vm);
  const after = applied?.epoch === epoch ? applied.sequence : 0;
  const received = await listReceivedCycles(store, vm, { epoch, sequence: after });
  return { vm, epoch, applied, points: await listRecoveryPoints(store, vm), received };
}
