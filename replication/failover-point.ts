/**
 * What a failover without the source goes back to. The live replica is a state of the VM only when the newest cycle
 * that was applied is of the replica's own epoch, and no cycle has been begun on top of it: otherwise, as in the middle
 * of a resynchronization, only the points that were kept are.
 */
import { CatalogueError } from '../domain/errors.js';
import { compareFences } from '../domain/fence.js';
import { recoveryPointId, vaultPaths, type RecoveryPoint } from '../domain/vault.js';
import type { ReplicaStore } from '../sites/ports.js';
import { applyCycle } from './apply.js';
import type { StepOptions } from './progress.js';
import { createRecoveryPoint, listRecoveryPoints } from './recovery-points.js';
import { readApplied, readDescription } from './replica-state.js';
import { SEEDED_SEQUENCE } from './seed-record.js';
import { readManifest } from './ship.js';

/** `latest`: everything received is applied first. `latest-processed`: what the replica holds. Else a point's id. */
export const LATEST = 'latest';
export const LATEST_PROCESSED = 'latest-processed';

export interface Processed {
  /** How many cycles were applied. */
  readonly cycles: number;
  /** What kept the next one from being applied. */
  readonly stoppedBy?: string;
}

/**
 * Applies every complete cycle of the current epoch that follows what the replica holds. One that can't be applied ends
 * it: what came before is whole, as a cycle is proven before its first byte is written.
 * @throws CatalogueError StaleEpoch, and whatever may be tried again.
 */
export async function processReceived(store: ReplicaStore, vm: string, options: StepOptions = {}): Promise<Processed> {
  const description = await readDescription(store, vm);
  const fence = await store.readFence(vaultPaths.vm(vm));
  if (!description || fence.epoch !== description.epoch || fence.sequence < SEEDED_SEQUENCE) return { cycles: 0 };
  const { epoch } = description;
  const applied = await readApplied(store, vm);
  let sequence = (applied?.epoch === epoch ? applied.sequence : 0) + 1;
  let cycles = 0;
  try {
    for (; await readManifest(store, vm, { epoch, sequence }); sequence += 1, cycles += 1) {
      await applyCycle(store, { vm, epoch, sequence }, options);
    }
    return { cycles };
  } catch (error) {
    if (!(error instanceof CatalogueError) || !UNUSABLE.includes(error.code)) throw error;
    return { cycles, stoppedBy: error.message };
  }
}

const UNUSABLE: readonly string[] = ['LogBroken', 'OutOfSequence', 'InvalidReplicaState'];

/**
 * The point a failover goes back to; made of the live replica where that is wanted and allowed.
 * @throws CatalogueError InvalidReplicaState when there is none, StaleEpoch.
 */
export async function failoverPoint(store: ReplicaStore, vm: string, wanted: string): Promise<RecoveryPoint> {
  if (wanted === LATEST || wanted === LATEST_PROCESSED) {
    const live = await livePoint(store, vm);
    if (live) return live;
  }
  const points = await listRecoveryPoints(store, vm);
  const point = isChoice(wanted) ? points.at(-1) : points.find(({ id }) => id === wanted);
  if (point) return point;
  throw new CatalogueError('InvalidReplicaState', noPoint(vm, wanted, points));
}

/** Why a failover can't go back to what is wanted; undefined when it can. Changes nothing. */
export async function pointProblem(store: ReplicaStore, vm: string, wanted: string): Promise<string | undefined> {
  const points = await listRecoveryPoints(store, vm);
  if (!isChoice(wanted)) return points.some(({ id }) => id === wanted) ? undefined : noPoint(vm, wanted, points);
  if (points.length > 0) return undefined;
  const description = await readDescription(store, vm);
  const applied = await readApplied(store, vm);
  return applied && applied.epoch === description?.epoch ? undefined : noPoint(vm, wanted, points);
}

const isChoice = (wanted: string): boolean => wanted === LATEST || wanted === LATEST_PROCESSED;

const noPoint = (vm: string, wanted: string, points: readonly RecoveryPoint[]): string =>
  points.length === 0
    ? `the vault holds no recovery point of ${vm}`
    : `the vault holds no recovery point ${isChoice(wanted) ? '' : `${wanted} `}of ${vm}; it has ${points.length}, the newest is ${points.at(-1)!.id}`;

async function livePoint(store: ReplicaStore, vm: string): Promise<RecoveryPoint | undefined> {
  const description = await readDescription(store, vm);
  const applied = await readApplied(store, vm);
  const fence = await store.readFence(vaultPaths.vm(vm));
  if (!description || applied?.epoch !== description.epoch || compareFences(fence, applied) !== 0) return undefined;
  const { epoch, sequence } = applied;
  const id = recoveryPointId(epoch, sequence);
  const made = (await listRecoveryPoints(store, vm)).find((point) => point.id === id);
  return made ?? (await createRecoveryPoint(store, { vm, epoch, sequence, kind: 'crashConsistent' }));
}
