/**
 * What a failover without the source goes back to. The live replica is a state of the VM only when the newest cycle
 * that was applied is of the replica's own epoch, and no cycle has been begun on top of it: otherwise, as in the middle
 * of a resynchronization, only the points that were kept are.
 */
import { CatalogueError } from '../domain/errors.js';
import { SEEDED_SEQUENCE } from '../domain/fence.js';
import { chooseRecoveryPoint, selectorOf, type RecoveryState } from '../domain/recovery-point.js';
import { vaultPaths, type RecoveryPoint } from '../domain/vault.js';
import type { ReplicaStore } from '../sites/ports.js';
import { applyCycle } from './apply.js';
import type { StepOptions } from './progress.js';
import { createPointIfWorth, createPointOfCycle } from './cycle-point.js';
import { readRecoveryState } from './recovery-target.js';
import { readApplied, readDescription } from './replica-state.js';
import { readManifest } from './ship.js';

/** `latest`: everything received is applied first. `latest-processed`: what the replica holds. Else a point. */
export const LATEST = 'latest';
export const LATEST_PROCESSED = 'latest-processed';

export interface Processed {
  /** How many cycles were applied. */
  readonly cycles: number;
  /** What kept the next one from being applied. */
  readonly stoppedBy?: string;
}

/**
 * Applies every complete cycle of the current epoch that follows what the replica holds, and makes the points of them.
 * One that can't be applied ends it: what came before is whole, as a cycle is proven before its first byte is written.
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
      await createPointIfWorth(store, vm, await applyCycle(store, { vm, epoch, sequence }, options));
    }
    return { cycles };
  } catch (error) {
    if (!(error instanceof CatalogueError) || !UNUSABLE.includes(error.code)) throw error;
    return { cycles, stoppedBy: error.message };
  }
}

const UNUSABLE: readonly string[] = ['LogBroken', 'OutOfSequence', 'InvalidReplicaState'];

/**
 * The point a failover goes back to; made of the live replica where that is wanted and allowed. What has been received
 * is not processed here.
 * @param wanted `latest` or `latest-processed`, which are the same here; `latest-app-consistent`; the id or name of a point.
 * @throws CatalogueError RecoveryPointNotFound, InvalidReplicaState when there is no replica, StaleEpoch.
 */
export async function failoverPoint(store: ReplicaStore, vm: string, wanted: string): Promise<RecoveryPoint> {
  const selector = selectorOf(wanted === LATEST ? LATEST_PROCESSED : wanted);
  const target = chooseRecoveryPoint(selector, await recoveryState(store, vm));
  return target.from === 'point' ? target.point : createPointOfCycle(store, vm, target.cycle);
}

/** Why a failover can't go back to what is wanted; undefined when it can. Changes nothing. */
export async function pointProblem(store: ReplicaStore, vm: string, wanted: string): Promise<string | undefined> {
  try {
    chooseRecoveryPoint(selectorOf(wanted), await recoveryState(store, vm));
    return undefined;
  } catch (error) {
    if (error instanceof CatalogueError && error.code === 'RecoveryPointNotFound') return error.message;
    throw error;
  }
}

async function recoveryState(store: ReplicaStore, vm: string): Promise<RecoveryState> {
  const state = await readRecoveryState(store, vm);
  if (state) return state;
  throw new CatalogueError('InvalidReplicaState', `the vault holds no description of ${vm}`);
}
