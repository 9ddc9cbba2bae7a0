/**
 * What a failover without the source goes back to. The live replica is a state of the VM only when the newest cycle
 * that was applied is of the replica's own epoch, and no cycle has been begun on top of it: otherwise, as in the middle
 * of a resynchronization, only the points that were kept are.
 */
import { CatalogueError } from '../domain/errors.js';
import { compareFences, SEEDED_SEQUENCE, type Fence } from '../domain/fence.js';
import {
  chooseRecoveryPoint,
  selectorOf,
  type RecoveryPointSelector,
  type RecoveryTarget,
} from '../domain/recovery-point.js';
import { formatSeconds, secondsBetween } from '../domain/time.js';
import { fenceOfPointId, vaultPaths, type DamagedRecord, type RecoveryPoint } from '../domain/vault.js';
import type { DiskStore, RecordStore, ReplicaStore } from '../ports/replica-store.js';
import { applyCycle } from './apply.js';
import type { StepOptions } from './progress.js';
import { createPointIfWorth, createPointOfCycle } from './cycle-point.js';
import { checkReplicaDisks, describedAt } from './described-point.js';
import { withRoom } from './make-room.js';
import { readUnlessAway } from './point-records.js';
import { cyclesAfter, readManifestIfWhole, receivedCycles, unusable } from './received-cycles.js';
import { readAppliedIfWhole, readRecoveryState, type KnownRecoveryState } from './recovery-target.js';
import { readDescription } from './replica-state.js';

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
  const fence = await store.objects.readFence(vaultPaths.vm(vm));
  if (!description || fence.epoch !== description.epoch || fence.sequence < SEEDED_SEQUENCE) return { cycles: 0 };
  const { epoch } = description;
  const applied = await readAppliedIfWhole(store, description);
  if ('problem' in applied) return { cycles: 0, stoppedBy: applied.problem };
  const received = await cyclesAfter(store, description, applied.state);
  let cycles = 0;
  try {
    for (const { sequence } of received.cycles) {
      await withRoom(store, { vm, epoch, retention: 'kept' }, async () => {
        const state = await readUnlessAway(store, vm, () => applyCycle(store, { vm, epoch, sequence }, options));
        await createPointIfWorth(store, vm, state);
      });
      cycles += 1;
    }
    return { cycles, ...(received.stoppedBy !== undefined && { stoppedBy: received.stoppedBy }) };
  } catch (error) {
    return { cycles, stoppedBy: unusable(error) };
  }
}

export interface ChosenPoint {
  readonly point: RecoveryPoint;
  /** What is newer than the point and would have been chosen, were it not damaged. */
  readonly passedOver: readonly string[];
}

/**
 * The point a failover goes back to; made of the live replica where that is wanted and allowed. What has been received
 * is not processed here. Where the words leave it open what is meant, the newest that is whole is.
 * @param wanted `latest` or `latest-processed`, which are the same here; `latest-app-consistent`; the id or name of a point.
 * @throws CatalogueError RecoveryPointNotFound, InvalidReplicaState when there is no replica, StaleEpoch.
 */
export async function choosePoint(store: ReplicaStore, vm: string, wanted: string): Promise<ChosenPoint> {
  const selector = selectorOf(wanted === LATEST ? LATEST_PROCESSED : wanted);
  const target = await chooseWhole(store, selector, await recoveryState(store, vm));
  const point = target.from === 'point' ? target.point : await createPointOfCycle(store, vm, target.cycle);
  const isNewer = ({ name }: DamagedRecord) => {
    const cycle = fenceOfPointId(name.slice(vaultPaths.pointPrefix(vm).length).replace(/\.json$/, ''));
    return !cycle || compareFences(cycle, point) > 0;
  };
  return { point, passedOver: target.damaged.filter(isNewer).map(({ problem }) => problem) };
}

/** See `choosePoint`. */
export const failoverPoint = async (store: ReplicaStore, vm: string, wanted: string): Promise<RecoveryPoint> =>
  (await choosePoint(store, vm, wanted)).point;

/** Changes nothing. @throws CatalogueError RecoveryPointNotFound, naming what is damaged. */
async function chooseWhole(
  store: DiskStore,
  selector: RecoveryPointSelector,
  from: KnownRecoveryState,
): Promise<RecoveryTarget & Pick<KnownRecoveryState, 'damaged'>> {
  const { vm, description } = from;
  for (let state = from; ;) {
    const target = chooseRecoveryPoint(selector, state);
    try {
      if (target.from === 'point') await describedAt(store, description, target.point);
      else await checkReplicaDisks(store, description);
      return { ...target, damaged: state.damaged };
    } catch (error) {
      if (!(error instanceof CatalogueError) || error.code !== 'InvalidReplicaState') throw error;
      const name = target.from === 'point' ? vaultPaths.point(vm, target.point.id) : vaultPaths.applied(vm);
      const damaged = [...state.damaged, { name, problem: error.detail }];
      if (target.from === 'replica') state = { ...state, applied: undefined, received: [], damaged };
      else state = { ...state, points: state.points.filter((point) => point !== target.point), damaged };
    }
  }
}

/**
 * How much older a state is than the newest cycle that has arrived, whether that can be used or not; undefined when it is
 * not older, or nobody can tell.
 */
export async function lagOf(
  store: RecordStore,
  vm: string,
  state: Fence & { readonly time: string },
): Promise<string | undefined> {
  const newer = (await receivedCycles(store, vm)).filter((cycle) => compareFences(cycle, state) > 0);
  for (const cycle of newer.toReversed()) {
    const manifest = await readManifestIfWhole(store, vm, cycle);
    if (!manifest) continue;
    const seconds = secondsBetween(state.time, manifest.sealedAt);
    return `this state is ${formatSeconds(seconds)} older than the newest cycle that has arrived, of ${manifest.sealedAt}`;
  }
  return undefined;
}

/** Why a failover can't go back to what is wanted; undefined when it can. Changes nothing. */
export async function pointProblem(store: ReplicaStore, vm: string, wanted: string): Promise<string | undefined> {
  try {
    await chooseWhole(store, selectorOf(wanted), await recoveryState(store, vm));
    return undefined;
  } catch (error) {
    if (error instanceof CatalogueError && error.code === 'RecoveryPointNotFound') return error.message;
    throw error;
  }
}

async function recoveryState(store: ReplicaStore, vm: string): Promise<KnownRecoveryState> {
  const state = await readRecoveryState(store, vm);
  if (state) return state;
  throw new CatalogueError('InvalidReplicaState', `the vault holds no description of ${vm}`);
}
