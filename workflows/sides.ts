/** The three sides a job works with, each with its task queue and the time limits of its work. Every attempt is a single one: the ladder retries. */
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
  /** A queue nobody polls: the worker of that side is not answering. */
  scheduleToStartTimeout: '1 minute',
  heartbeatTimeout: HEARTBEAT_TIMEOUT,
  retry: { maximumAttempts: 1 },
};
/** What is cancelled is not waited for: its worker may be dead. */
const letGo: ActivityOptions = { cancellationType: ActivityCancellationType.TRY_CANCEL };
/** Asked before anything is begun: while it waits, the VM's cycles do. */
const prompt: ActivityOptions = { ...common, scheduleToStartTimeout: '30 seconds' };
/** One attempt that must not keep anybody waiting. */
const brief: ActivityOptions = { ...common, ...letGo, scheduleToStartTimeout: '10 seconds' };

export const sourceOf = (vault: string, host: string, options = common, limits?: TimeLimits) =>
  sideOf('source', { ...options, taskQueue: taskQueues.host(vault, host) }, limits);

export const sourceFabricOf = (vault: string, server: string, options = common, limits?: TimeLimits) =>
  sideOf('sourceFabric', { ...options, taskQueue: taskQueues.vmm(vault, server) }, limits);

export const targetOf = (vault: string, options = common) =>
  sideOf('target', { ...options, taskQueue: taskQueues.azure(vault) });

/** What is only computed, by the worker that runs the workflow. */
export const { resyncOpening } = proxyLocalActivities<ResynchronizationActivities>({
  startToCloseTimeout: '1 minute',
});

/** Of all sides at once, for questions before a job changes anything. */
export const askedSidesOf = ({ vault, host, vmmServer }: { vault: string; host: string; vmmServer: string }) => ({
  source: sourceOf(vault, host, prompt),
  sourceFabric: sourceFabricOf(vault, vmmServer, prompt),
  target: targetOf(vault, prompt),
});

/** For the delta loop, which an unplanned failover ends at once. */
export const cycleSidesOf = (vault: string, host: string) => ({
  source: sourceOf(vault, host, { ...common, ...letGo }),
  target: targetOf(vault, { ...common, ...letGo }),
});

/** For what is tried at a primary site that may be gone. */
export const sourceIfThere = (vault: string, host: string, server: string) => ({
  source: sourceOf(vault, host, brief, timeLimitsIfThere),
  sourceFabric: sourceFabricOf(vault, server, brief, timeLimitsIfThere),
});

/** For what has to be done once the Provider is back: it lies in its queue until then. */
export const returningFabricOf = (vault: string, server: string) =>
  sourceFabricOf(vault, server, {
    heartbeatTimeout: HEARTBEAT_TIMEOUT,
    retry: { maximumAttempts: 1 },
    ...letGo,
  });

/** Each call gets the limit of its kind of work. */
function sideOf<S extends Side>(side: S, options: ActivityOptions, limits: TimeLimits = timeLimits): ActivitiesOf<S> {
  type Calls = Record<string, (...args: unknown[]) => Promise<unknown>>;
  const timed = (work: Work) => proxyActivities<Calls>({ ...options, startToCloseTimeout: limits[work] });
  const calls = { asks: timed('asks'), changes: timed('changes'), moves: timed('moves') };
  const named = Object.entries<Work>(workOf[side]).map(([name, work]) => [name, calls[work][name]!]);
  return Object.fromEntries(named) as ActivitiesOf<S>;
}
