/** The three sides a job works with, each with its task queue and the time limits of its work. Every attempt is a single one: the ladder retries. */
import {
  ActivityCancellationType,
  proxyActivities,
  proxyLocalActivities,
  type ActivityOptions,
} from '@temporalio/workflow';
import type { AzureActivities } from '../activities/azure.js';
import type { PrimaryActivities } from '../activities/primary.js';
import type { ProviderActivities } from '../activities/provider.js';
import type { ResynchronizationActivities } from '../activities/resynchronization.js';
import { taskQueues } from '../domain/ids.js';
import { atSide, type Side } from './step-failure.js';
import {
  HEARTBEAT_TIMEOUT,
  timeLimits,
  timeLimitsIfThere,
  workOf,
  type LimitedActivity,
  type TimeLimits,
} from './time-limits.js';

const common: ActivityOptions = {
  /** A queue nobody polls: the worker of that side is not answering. */
  scheduleToStartTimeout: '1 minute',
  heartbeatTimeout: HEARTBEAT_TIMEOUT,
  retry: { maximumAttempts: 1 },
};
/** What is cancelled is not waited for: its worker may be dead. */
const letGo: ActivityOptions = { cancellationType: ActivityCancellationType.TRY_CANCEL };
/** One attempt that must not keep anybody waiting. */
const brief: ActivityOptions = { ...common, ...letGo, scheduleToStartTimeout: '10 seconds' };

export const agentOf = (vault: string, host: string) =>
  sideOf<PrimaryActivities>('agent', { ...common, taskQueue: taskQueues.host(vault, host) });

export const providerOf = (vault: string, server: string) =>
  sideOf<ProviderActivities>('provider', { ...common, taskQueue: taskQueues.vmm(vault, server) });

/** What is only computed, by the worker that runs the workflow. */
export const { resyncOpening } = proxyLocalActivities<ResynchronizationActivities>({
  startToCloseTimeout: '1 minute',
});

export const azureOf = (vault: string) =>
  sideOf<AzureActivities & ResynchronizationActivities>('azure', { ...common, taskQueue: taskQueues.azure(vault) });

/** For the delta loop, which an unplanned failover ends at once. */
export const cycleSidesOf = (vault: string, host: string) => ({
  agent: sideOf<PrimaryActivities>('agent', { ...common, ...letGo, taskQueue: taskQueues.host(vault, host) }),
  azure: sideOf<AzureActivities>('azure', { ...common, ...letGo, taskQueue: taskQueues.azure(vault) }),
});

/** For what is tried at a primary site that may be gone. */
export const primaryIfThere = (vault: string, host: string, server: string) => ({
  agent: sideOf<PrimaryActivities>('agent', { ...brief, taskQueue: taskQueues.host(vault, host) }, timeLimitsIfThere),
  provider: sideOf<ProviderActivities>(
    'provider',
    { ...brief, taskQueue: taskQueues.vmm(vault, server) },
    timeLimitsIfThere,
  ),
});

/** For what has to be done once the Provider is back: it lies in its queue until then. */
export const returningProviderOf = (vault: string, server: string) =>
  sideOf<ProviderActivities>('provider', {
    heartbeatTimeout: HEARTBEAT_TIMEOUT,
    retry: { maximumAttempts: 1 },
    ...letGo,
    taskQueue: taskQueues.vmm(vault, server),
  });

/**
 * Each call gets the limit of its kind of work, and every failed one remembers its side: a queue that nobody polls is
 * called by the name of who should.
 */
function sideOf<T extends object>(side: Side, options: ActivityOptions, limits: TimeLimits = timeLimits): T {
  const call = (name: LimitedActivity, args: unknown[]): Promise<unknown> => {
    const timed = proxyActivities<Record<string, (...of: unknown[]) => Promise<unknown>>>({
      ...options,
      startToCloseTimeout: limits[workOf[name]],
    });
    return timed[name]!(...args);
  };
  return new Proxy({} as T, {
    get(_target, name) {
      if (typeof name !== 'string' || !(name in workOf)) return undefined;
      return (...args: unknown[]) =>
        call(name as LimitedActivity, args).catch((error: unknown) => {
          throw atSide(error, side);
        });
    },
  });
}
