/**
 * The state that a failover without the source uses. The live replica is a state of the VM only if the newest applied
 * cycle belongs to the replica's epoch and no further cycle has been begun. Otherwise, as during a resynchronization,
 * only the recovery points are.
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

/** `latest`: all received cycles are applied first. `latest-processed`: the replica as it is. Otherwise: a point. */
export const LATEST = 'latest';
export const LATEST_PROCESSED = 'latest-processed';

export interface Processed {
  /** Number of cycles that were applied. */
  readonly cycles: number;
  /** Why the next one could not be applied. */
  readonly stoppedBy?: string;
}

/**
 * Applies every complete cycle of the current epoch that follows the replica's state, and makes their points. Stops at
 * a cycle that cannot be applied; the state before it is intact, because a cycle is verified before its first byte is
 * written.
 * @throws CatalogueError StaleEpoch, and any error that may be retried.
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
  /** Newer points that would have been chosen if they were not damaged. */
  readonly passedOver: readonly string[];
}

/**
 * The point that a failover uses; made from the live replica if that is requested and possible. Does not apply received
 * cycles. If the choice is open, takes the newest intact point.
 * @param wanted `latest` or `latest-processed`, which are the same here; `latest-app-consistent`; the id or name of a
 * point.
 * @throws CatalogueError RecoveryPointNotFound, InvalidReplicaState if there is no replica, StaleEpoch.
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

/** Changes nothing. @throws CatalogueError RecoveryPointNotFound, which names damaged points. */
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
 * How much older a state is than the newest cycle that has arrived, usable or not; undefined if it is not older or the
 * age is unknown.
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

/** Why a failover cannot use the requested point; undefined if it can. Changes nothing. */
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
