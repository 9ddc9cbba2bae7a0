/** What the store holds of a VM now, as far as choosing a recovery point needs it. */
import type { RecoveryState } from '../domain/recovery-point.js';
import { vaultPaths } from '../domain/vault.js';
import type { ReplicaStore } from '../sites/ports.js';
import { cyclesAfter } from './received-cycles.js';
import { listRecoveryPoints } from './recovery-points.js';
import { readApplied, readDescription } from './replica-state.js';

/** Undefined while the store knows no such VM. @throws CatalogueError StoreUnreachable, InvalidReplicaState */
export async function readRecoveryState(store: ReplicaStore, vm: string): Promise<RecoveryState | undefined> {
  const description = await readDescription(store, vm);
  if (!description) return undefined;
  const { epoch } = description;
  const applied = await readApplied(store, vm);
  const fence = await store.readFence(vaultPaths.vm(vm));
  const sequence = applied?.epoch === epoch ? applied.sequence : 0;
  const received = await cyclesAfter(store, vm, { epoch, sequence });
  return { vm, epoch, fence, applied, received, points: await listRecoveryPoints(store, vm) };
}
