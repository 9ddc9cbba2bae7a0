/** All kinds of jobs, in the order of the life of a VM. */
import { cancelFailback } from './cancel-failback.js';
import { cancelFailover } from './cancel-failover.js';
import { changeRecoveryPoint } from './change-recovery-point.js';
import { cleanupTestFailover } from './cleanup-test-failover.js';
import { commitFailover } from './commit-failover.js';
import { disableProtection } from './disable-protection.js';
import { enableProtection } from './enable-protection.js';
import { failback } from './failback.js';
import { finalizeProtection } from './finalize-protection.js';
import { initialReplication } from './initial-replication.js';
import { plannedFailover } from './planned-failover.js';
import { resynchronize } from './resynchronize.js';
import { reverseReplicate } from './reverse-replicate.js';
import { testFailover } from './test-failover.js';
import { unplannedFailover } from './unplanned-failover.js';
import { verifyReplica } from './verify-replica.js';
import { addJobKind, jobDefinition, jobDefinitions, type AskedJob, type JobDefinition } from './job-definition.js';
import type { Phase } from '../protected-item.js';

const knownJobs = [
  enableProtection,
  initialReplication,
  finalizeProtection,
  resynchronize,
  plannedFailover,
  unplannedFailover,
  changeRecoveryPoint,
  cancelFailover,
  commitFailover,
  failback,
  cancelFailback,
  reverseReplicate,
  disableProtection,
  verifyReplica,
  testFailover,
  cleanupTestFailover,
] as const;
knownJobs.forEach(addJobKind);

type KnownJob = (typeof knownJobs)[number];
export type JobKind = KnownJob['kind'];
export type TaskName<K extends JobKind = JobKind> = Extract<KnownJob, { readonly kind: K }>['tasks'][number];
/** Kinds that can be requested. */
export type AskedKind = Extract<KnownJob, AskedJob>['kind'];
/** See `jobOperations`. */
export type JobOperation = Exclude<AskedKind, 'resynchronize'>;

export const jobKinds: readonly JobKind[] = knownJobs.map(({ kind }) => kind);

export { jobDefinition, titleOf } from './job-definition.js';

/** The job that follows automatically after a successful one. @param phase phase of the VM after it. */
export const followUpOf = (kind: JobKind, phase: Phase): JobKind | undefined =>
  jobDefinition(kind).followedBy?.(phase) as JobKind | undefined;

const isAsked = (job: JobDefinition): job is AskedJob => job.allowed !== undefined;
export const askedJobs = (): readonly AskedJob[] => jobDefinitions().filter(isAsked);
/** Requestable jobs without parameters: accepted immediately, done in the background. */
export const jobOperations = (): readonly JobOperation[] =>
  askedJobs()
    .filter(({ hasOwnUpdate }) => !hasOwnUpdate)
    .map(({ kind }) => kind as JobOperation);
