/**
 * The three sides that a job works with, each with its task queue and the time limits of its work. Every activity has
 * one attempt: the ladder retries.
 */
import {
  ActivityCancellationType,
  proxyActivities,
  proxyLocalActivities,
  type ActivityOptions,
} from '@temporalio/workflow';
import type { ResynchronizationActivities } from '../activities/resynchronization.js';
import type { Side } from '../domain/errors.js';
import { taskQueues } from '../domain/ids.js';
import {
  HEARTBEAT_TIMEOUT,
  timeLimits,
  timeLimitsIfThere,
  workOf,
  type ActivitiesOf,
  type TimeLimits,
  type Work,
} from './activity-table.js';

const common: ActivityOptions = {
  /** If a task stays in the queue this long, no worker polls it. */
  scheduleToStartTimeout: '1 minute',
  heartbeatTimeout: HEARTBEAT_TIMEOUT,
  retry: { maximumAttempts: 1 },
};
/** A cancelled activity is not waited for, because its worker may be dead. */
const letGo: ActivityOptions = { cancellationType: ActivityCancellationType.TRY_CANCEL };
/** For questions before a job changes anything: the VM's cycles wait meanwhile. */
const prompt: ActivityOptions = { ...common, scheduleToStartTimeout: '30 seconds' };
/** One attempt, with no long wait. */
const brief: ActivityOptions = { ...common, ...letGo, scheduleToStartTimeout: '10 seconds' };

export const sourceOf = (vault: string, host: string, options = common, limits?: TimeLimits) =>
  sideOf('source', { ...options, taskQueue: taskQueues.host(vault, host) }, limits);

export const sourceFabricOf = (vault: string, server: string, options = common, limits?: TimeLimits) =>
  sideOf('sourceFabric', { ...options, taskQueue: taskQueues.vmm(vault, server) }, limits);

export const targetOf = (vault: string, options = common) =>
  sideOf('target', { ...options, taskQueue: taskQueues.azure(vault) });

/** Pure computations, done by the worker that runs the workflow. */
export const { resyncOpening } = proxyLocalActivities<ResynchronizationActivities>({
  startToCloseTimeout: '1 minute',
});

/** All sides, for questions before a job changes anything. */
export const askedSidesOf = ({ vault, host, vmmServer }: { vault: string; host: string; vmmServer: string }) => ({
  source: sourceOf(vault, host, prompt),
  sourceFabric: sourceFabricOf(vault, vmmServer, prompt),
  target: targetOf(vault, prompt),
});

/** For the delta loop, which an unplanned failover ends immediately. */
export const cycleSidesOf = (vault: string, host: string) => ({
  source: sourceOf(vault, host, { ...common, ...letGo }),
  target: targetOf(vault, { ...common, ...letGo }),
});

/** For attempts at a primary site that may be gone. */
export const sourceIfThere = (vault: string, host: string, server: string) => ({
  source: sourceOf(vault, host, brief, timeLimitsIfThere),
  sourceFabric: sourceFabricOf(vault, server, brief, timeLimitsIfThere),
});

/** For attempts at sites that may be gone. */
export const allIfThere = (vault: string, host: string, server: string) => ({
  ...sourceIfThere(vault, host, server),
  target: targetOf(vault, brief),
});

/** For work that has to be done once the Provider is back: it stays in the queue until then. */
export const returningFabricOf = (vault: string, server: string) =>
  sourceFabricOf(vault, server, {
    heartbeatTimeout: HEARTBEAT_TIMEOUT,
    retry: { maximumAttempts: 1 },
    ...letGo,
  });

/** Gives each call the time limit of its kind of work. */
function sideOf<S extends Side>(side: S, options: ActivityOptions, limits: TimeLimits = timeLimits): ActivitiesOf<S> {
  type Calls = Record<string, (...args: unknown[]) => Promise<unknown>>;
  const timed = (work: Work) => proxyActivities<Calls>({ ...options, startToCloseTimeout: limits[work] });
  const calls = { asks: timed('asks'), changes: timed('changes'), moves: timed('moves') };
  const named = Object.entries<Work>(workOf[side]).map(([name, work]) => [name, calls[work][name]!]);
  return Object.fromEntries(named) as ActivitiesOf<S>;
}
