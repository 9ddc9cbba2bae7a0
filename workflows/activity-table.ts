/**
 * The activities that jobs and entities call: the side on which each runs, and the time limit of one attempt.
 * Heartbeats only show that the worker lives; the time limit ends a call that hangs.
 */
import type { ActivityOptions } from '@temporalio/workflow';
import type { ResynchronizationActivities } from '../activities/resynchronization.js';
import type { SourceActivities } from '../activities/source.js';
import type { SourceFabricActivities } from '../activities/source-fabric.js';
import type { TargetActivities } from '../activities/target.js';
import { sideSchema, type Side } from '../domain/errors.js';

/**
 * - `asks`: reads, or writes a small record.
 * - `changes`: changes a VM's power state, its snapshot, or which disks exist; takes minutes on a real hypervisor or in
 * a cloud.
 * - `moves`: sends, applies, merges or compares disk content, for hours if bandwidth is limited. An activity that makes
 * no progress for an hour stops its heartbeats (`activities/heartbeat.ts`).
 */
export type Work = 'asks' | 'changes' | 'moves';

export type TimeLimits = Readonly<Record<Work, NonNullable<ActivityOptions['startToCloseTimeout']>>>;

export const timeLimits: TimeLimits = { asks: '2 minutes', changes: '30 minutes', moves: '1 day' };
/** For calls to a primary site that may be gone, while the caller waits for the answer. */
export const timeLimitsIfThere: TimeLimits = { asks: '30 seconds', changes: '5 minutes', moves: '10 minutes' };

/** A worker that sends no heartbeat for this long is considered lost. */
export const HEARTBEAT_TIMEOUT = '30 seconds';

/** These activities get their limits where they are called. */
type WithOwnLimit = 'watchHost' | 'postAlert' | 'resyncOpening';
type Limits<T> = Readonly<Record<Exclude<keyof T, WithOwnLimit>, Work>>;

interface SideActivities {
  source: SourceActivities;
  sourceFabric: SourceFabricActivities;
  target: TargetActivities & ResynchronizationActivities;
}
/** The activities of a side whose time limits are in this table. */
export type ActivitiesOf<S extends Side> = Omit<SideActivities[S], WithOwnLimit>;

export const workOf: { readonly [S in Side]: Limits<SideActivities[S]> } = {
  source: {
    checkSource: 'asks',
    beginReplication: 'changes',
    continueReplication: 'changes',
    snapshotAndCut: 'changes',
    endReplication: 'moves',
    mergeSnapshot: 'moves',
    copyDisk: 'moves',
    compareDisk: 'moves',
    cutAndShip: 'moves',
    checkFailbackTarget: 'asks',
    checkCommitFailback: 'asks',
    createFailbackLayers: 'changes',
    commitFailback: 'changes',
    discardFailback: 'changes',
    digestOriginal: 'moves',
    receiveChanges: 'moves',
  },
  sourceFabric: {
    locateVm: 'asks',
    checkProtectable: 'asks',
    resolveNetworks: 'asks',
    checkFailoverSource: 'asks',
    checkReturn: 'asks',
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
    checkPointChange: 'asks',
    checkFailoverCancellation: 'asks',
    checkTestFailover: 'asks',
    findTestVm: 'asks',
    recordJob: 'asks',
    prepareReplica: 'changes',
    finalizeReplica: 'changes',
    startReplicaVm: 'changes',
    commitFailover: 'changes',
    stopReplicaVm: 'changes',
    deleteReplicaVm: 'changes',
    createReplicaVmAt: 'changes',
    restartReplicaVm: 'changes',
    endFailover: 'changes',
    beginTestFailover: 'changes',
    createTestVm: 'changes',
    startTestVm: 'changes',
    endTestFailover: 'changes',
    deleteTestVm: 'changes',
    releaseTestPoint: 'changes',
    checkTestVm: 'moves',
    verifySeed: 'moves',
    applyCycle: 'moves',
    applyReceivedCycles: 'moves',
    settleRecoveryPoint: 'moves',
    startFailover: 'moves',
    startUnplannedFailover: 'moves',
    beginResync: 'moves',
    continueReplica: 'moves',
    digestReplica: 'moves',
    endResync: 'moves',
    digestForVerification: 'moves',
    endVerification: 'moves',
    checkFailback: 'asks',
    compareOriginal: 'asks',
    beginFailback: 'changes',
    shutDownReplicaVm: 'changes',
    handOver: 'changes',
    checkFailbackCancellation: 'asks',
    returnToRecovery: 'changes',
    removeFailedBackReplicaVm: 'changes',
    sendSnapshot: 'moves',
    mergeReplicaSnapshot: 'moves',
    sendReplicaCycle: 'moves',
    endFailback: 'moves',
    removeReplica: 'moves',
    keepReplica: 'moves',
  },
};

const sideOf: ReadonlyMap<string, Side> = new Map([
  ['watchHost', 'source'],
  ...sideSchema.options.flatMap((side) => Object.keys(workOf[side]).map((name) => [name, side] as const)),
]);

/** @returns undefined for an activity that runs in the same worker as the workflow. */
export const sideOfActivity = (activityType: string): Side | undefined => sideOf.get(activityType);
