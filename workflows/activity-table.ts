/**
 * The activities that jobs and entities call: on which side each runs, and how long one attempt may take, whatever its heartbeats say: they tell that the worker lives, and a call
 * that hangs behind it is ended by these.
 */
import type { ActivityOptions } from '@temporalio/workflow';
import type { ResynchronizationActivities } from '../activities/resynchronization.js';
import type { SourceActivities } from '../activities/source.js';
import type { SourceFabricActivities } from '../activities/source-fabric.js';
import type { TargetActivities } from '../activities/target.js';
import { sideSchema, type Side } from '../domain/errors.js';

/**
 * - `asks`: reads, or writes a small record.
 * - `changes`: a VM's power, its snapshot, its disks' being there; minutes on a real hypervisor or in a cloud.
 * - `moves`: disk content is sent, applied, merged or compared, at a limited bandwidth for hours. One that shows no progress
 *   for an hour stops its heartbeats (`activities/heartbeat.ts`).
 */
export type Work = 'asks' | 'changes' | 'moves';

export type TimeLimits = Readonly<Record<Work, NonNullable<ActivityOptions['startToCloseTimeout']>>>;

export const timeLimits: TimeLimits = { asks: '2 minutes', changes: '30 minutes', moves: '1 day' };
/** At a primary site that may be gone, while somebody waits. */
export const timeLimitsIfThere: TimeLimits = { asks: '30 seconds', changes: '5 minutes', moves: '10 minutes' };

/** A worker that sends no heartbeat for so long is lost. */
export const HEARTBEAT_TIMEOUT = '30 seconds';

/** Those that are called with limits of their own, where they are called. */
type WithOwnLimit = 'watchHost' | 'postAlert' | 'resyncOpening';
type Limits<T> = Readonly<Record<Exclude<keyof T, WithOwnLimit>, Work>>;

interface SideActivities {
  source: SourceActivities;
  sourceFabric: SourceFabricActivities;
  target: TargetActivities & ResynchronizationActivities;
}
/** Activities of a side that have their time limits here. */
export type ActivitiesOf<S extends Side> = Omit<SideActivities[S], WithOwnLimit>;

export const workOf: { readonly [S in Side]: Limits<SideActivities[S]> } = {
  source: {
    checkSource: 'asks',
    beginReplication: 'changes',
    snapshotAndCut: 'changes',
    endReplication: 'moves',
    mergeSnapshot: 'moves',
    copyDisk: 'moves',
    compareDisk: 'moves',
    cutAndShip: 'moves',
  },
  sourceFabric: {
    locateVm: 'asks',
    checkProtectable: 'asks',
    resolveNetworks: 'asks',
    checkFailoverSource: 'asks',
    updateProviderState: 'asks',
    shutDownVm: 'changes',
    startVm: 'changes',
    fenceVm: 'changes',
  },
  target: {
    identifyTarget: 'asks',
    checkFailoverTarget: 'asks',
    checkUnplannedFailover: 'asks',
    checkCommit: 'asks',
    recordJob: 'asks',
    prepareReplica: 'changes',
    finalizeReplica: 'changes',
    startReplicaVm: 'changes',
    commitFailover: 'changes',
    verifySeed: 'moves',
    applyCycle: 'moves',
    applyReceivedCycles: 'moves',
    settleRecoveryPoint: 'moves',
    startFailover: 'moves',
    startUnplannedFailover: 'moves',
    beginResync: 'moves',
    digestReplica: 'moves',
    endResync: 'moves',
    digestForVerification: 'moves',
    endVerification: 'moves',
    removeReplica: 'moves',
    keepReplica: 'moves',
  },
};

const sideOf: ReadonlyMap<string, Side> = new Map([
  ['watchHost', 'source'],
  ...sideSchema.options.flatMap((side) => Object.keys(workOf[side]).map((name) => [name, side] as const)),
]);

/** @returns undefined of one that runs beside the workflow. */
export const sideOfActivity = (activityType: string): Side | undefined => sideOf.get(activityType);
