/**
 * How long one attempt of each activity may take, whatever its heartbeats say: they tell that the worker lives, and a call
 * that hangs behind it is ended by these. Every activity that jobs and entities call has its kind here.
 */
import type { ActivityOptions } from '@temporalio/workflow';
import type { AzureActivities } from '../activities/azure.js';
import type { PrimaryActivities } from '../activities/primary.js';
import type { ProviderActivities } from '../activities/provider.js';
import type { ResynchronizationActivities } from '../activities/resynchronization.js';

/**
 * - `asks`: reads, or writes a small record.
 * - `changes`: a VM's power, its snapshot, its disks' being there; minutes on a real hypervisor or in a cloud.
 * - `moves`: disk content is sent, applied, merged or compared, at a limited bandwidth for hours. One that shows no progress
 *   for an hour stops its heartbeats (`activities/heartbeat.ts`).
 */
type Work = 'asks' | 'changes' | 'moves';

export type TimeLimits = Readonly<Record<Work, NonNullable<ActivityOptions['startToCloseTimeout']>>>;

export const timeLimits: TimeLimits = { asks: '2 minutes', changes: '30 minutes', moves: '1 day' };
/** At a primary site that may be gone, while somebody waits. */
export const timeLimitsIfThere: TimeLimits = { asks: '30 seconds', changes: '5 minutes', moves: '10 minutes' };

/** A worker that sends no heartbeat for so long is lost. */
export const HEARTBEAT_TIMEOUT = '30 seconds';

/** Those that are called with limits of their own, where they are called. */
type WithOwnLimit = 'watchHost' | 'postAlert' | 'resyncOpening';
export type LimitedActivity = Exclude<
  keyof (PrimaryActivities & ProviderActivities & AzureActivities & ResynchronizationActivities),
  WithOwnLimit
>;

export const workOf: Readonly<Record<LimitedActivity, Work>> = {
  // The agent's.
  checkSource: 'asks',
  beginReplication: 'changes',
  snapshotAndCut: 'changes',
  endReplication: 'moves',
  mergeSnapshot: 'moves',
  copyDisk: 'moves',
  compareDisk: 'moves',
  cutAndShip: 'moves',
  // The Provider's.
  locateVm: 'asks',
  checkProtectable: 'asks',
  resolveNetworks: 'asks',
  checkFailoverSource: 'asks',
  updateProviderState: 'asks',
  shutDownVm: 'changes',
  startVm: 'changes',
  fenceVm: 'changes',
  // The Azure worker's.
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
};
