/**
 * Sends an alert when the replication health changes, and retries it with the ladder's delays until it is accepted.
 * Only the newest state is sent, one alert at a time: changes during a request share the next alert. The last reported
 * health is part of the item, so that the next run of the entity sends an alert that this run did not, perhaps twice.
 */
import { isCancellation, log, proxyActivities } from '@temporalio/workflow';
import type { TargetActivities } from '../activities/target.js';
import { conditionsOf, type Health } from '../domain/health.js';
import { taskQueues } from '../domain/ids.js';
import type { ProtectedItem } from '../domain/protected-item.js';
import { retryDelayMs } from '../domain/retry.js';
import { now } from './clock.js';
import { until, untilOrAfter } from './wait.js';

export interface AlertedItem {
  item(): ProtectedItem;
  /** The health that alerts report, as of the last time the item was shown. */
  health(): Health;
  over(): boolean;
  alerted(health: Health): void;
}

/** The server makes a few attempts in a row; after that, the ladder takes over. */
const alertsOf = (vault: string) =>
  proxyActivities<Pick<TargetActivities, 'postAlert'>>({
    taskQueue: taskQueues.azure(vault),
    startToCloseTimeout: '30 seconds',
    scheduleToCloseTimeout: '10 minutes',
    retry: { initialInterval: '10 seconds', backoffCoefficient: 2, maximumAttempts: 3 },
    summary: 'Alert',
  });

export async function sendAlerts(alerted: AlertedItem): Promise<void> {
  const lastTold = () => alerted.item().alertedHealth ?? 'Normal';
  for (;;) {
    await until(() => alerted.over() || alerted.health() !== lastTold());
    if (alerted.over()) return;
    await untilTold(alerted, lastTold);
  }
}

/** Resolves when the newest state was accepted or equals the last reported one. Each change is sent immediately. */
async function untilTold(alerted: AlertedItem, lastTold: () => Health): Promise<void> {
  for (let attempt = 1; !alerted.over() && alerted.health() !== lastTold(); attempt += 1) {
    const to = alerted.health();
    if (await post(alerted, lastTold(), to)) return alerted.alerted(to);
    const changed = () => alerted.over() || alerted.health() !== to;
    await untilOrAfter(changed, retryDelayMs(attempt), 'Next try of the alert');
  }
}

async function post({ item }: AlertedItem, from: Health, to: Health): Promise<boolean> {
  const { vault, vm } = item();
  const at = now();
  const reasons = conditionsOf(item(), at).map(({ reason, message, since }) => ({
    reason,
    message,
    ...(since !== undefined && { since }),
  }));
  try {
    await alertsOf(vault).postAlert({ vault, vm, from, to, reasons, at });
    return true;
  } catch (error) {
    if (isCancellation(error)) throw error;
    log.warn('An alert was not accepted', { vm, to, error: String(error) });
    return false;
  }
}
