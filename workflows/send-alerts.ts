/**
 * Sends an alert whenever the replication health has changed, until it is taken: by the ladder's delays, and the newest
 * state only. One at a time: changes that come while one is on its way make one alert together. What was told last is kept
 * with the item, so that an alert that a run of the entity left unsent is sent by the next, perhaps twice.
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
  /** That alerts go by, as it was when the item was shown last. */
  health(): Health;
  over(): boolean;
  alerted(health: Health): void;
}

/** A few attempts in a row, by the server; the ladder goes on from there. */
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

/** Until the newest state was taken, or is the one that was told last. Each change is told at once. */
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
