/** The three sides a job works with, each with its task queue and its time limits. Every attempt is a single one: the ladder retries. */
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

const common: ActivityOptions = {
  /** A queue nobody polls: the worker of that side is not answering. */
  scheduleToStartTimeout: '1 minute',
  retry: { maximumAttempts: 1 },
};
/**
 * Heartbeats while it gets on, or waits its turn: one that is lost or hangs is known by that. What is sent at a limited
 * bandwidth may take hours.
 */
const long: ActivityOptions = { ...common, startToCloseTimeout: '1 day', heartbeatTimeout: '30 seconds' };
const short: ActivityOptions = { ...common, startToCloseTimeout: '2 minutes', heartbeatTimeout: '30 seconds' };

/** What is cancelled is not waited for: its worker may be dead. */
const letGo: ActivityOptions = { cancellationType: ActivityCancellationType.TRY_CANCEL };
/** One attempt that must not keep anybody waiting. */
const brief: ActivityOptions = {
  ...common,
  ...letGo,
  scheduleToStartTimeout: '10 seconds',
  heartbeatTimeout: '30 seconds',
};

export const agentOf = (host: string) =>
  marked('agent', proxyActivities<PrimaryActivities>({ ...long, taskQueue: taskQueues.host(host) }));

export const providerOf = (server: string) =>
  marked('provider', proxyActivities<ProviderActivities>({ ...short, taskQueue: taskQueues.vmm(server) }));

/** What is only computed, by the worker that runs the workflow. */
export const { resyncOpening } = proxyLocalActivities<ResynchronizationActivities>({
  startToCloseTimeout: '1 minute',
});

export const azureOf = (vault: string) =>
  marked(
    'azure',
    proxyActivities<AzureActivities & ResynchronizationActivities>({ ...long, taskQueue: taskQueues.azure(vault) }),
  );

/** For the delta loop, which an unplanned failover ends at once. */
export const cycleSidesOf = (host: string, vault: string) => ({
  agent: marked('agent', proxyActivities<PrimaryActivities>({ ...long, ...letGo, taskQueue: taskQueues.host(host) })),
  azure: marked('azure', proxyActivities<AzureActivities>({ ...long, ...letGo, taskQueue: taskQueues.azure(vault) })),
});

/** For what is tried at a primary site that may be gone. */
export const primaryIfThere = (host: string, server: string) => ({
  agent: marked(
    'agent',
    proxyActivities<PrimaryActivities>({
      ...brief,
      startToCloseTimeout: '2 minutes',
      taskQueue: taskQueues.host(host),
    }),
  ),
  provider: marked(
    'provider',
    proxyActivities<ProviderActivities>({
      ...brief,
      startToCloseTimeout: '30 seconds',
      taskQueue: taskQueues.vmm(server),
    }),
  ),
});

/** For what has to be done once the Provider is back: it lies in its queue until then. */
export const returningProviderOf = (server: string) =>
  marked(
    'provider',
    proxyActivities<ProviderActivities>({
      startToCloseTimeout: '2 minutes',
      retry: { maximumAttempts: 1 },
      ...letGo,
      taskQueue: taskQueues.vmm(server),
    }),
  );

/** Makes every failed call remember its side: a queue that nobody polls is called by the name of who should. */
function marked<T extends object>(side: Side, activities: T): T {
  return new Proxy(activities, {
    get(target, name, receiver) {
      const call: unknown = Reflect.get(target, name, receiver);
      if (typeof call !== 'function') return call;
      return (...args: unknown[]) =>
        (call as (...args: unknown[]) => Promise<unknown>)(...args).catch((error: unknown) => {
          throw atSide(error, side);
        });
    },
  });
}
