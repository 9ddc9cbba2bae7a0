/**
 * Sends an alert whenever the replication health has changed. One at a time: changes that come while one is on its way
 * make one alert together. What was told last is kept with the item, so that an alert that a run of the entity left
 * unsent is sent by the next, perhaps twice.
 */
import { condition, isCancellation, log, proxyActivities } from '@temporalio/workflow';
import type { AzureActivities } from '../activities/azure.js';
import { conditionsOf, healthOf, type Health } from '../domain/health.js';
import { taskQueues } from '../domain/ids.js';
import type { ProtectedItem } from '../domain/protected-item.js';
import { toIso } from '../domain/time.js';

export interface AlertedItem {
  item(): ProtectedItem;
  over(): boolean;
  alerted(health: Health): void;
}

const alertsOf = (vault: string) =>
  proxyActivities<Pick<AzureActivities, 'postAlert'>>({
    taskQueue: taskQueues.azure(vault),
    startToCloseTimeout: '30 seconds',
    scheduleToCloseTimeout: '10 minutes',
    // Bounded: who can't be told after these learns of the next change, and `status` knows in any case.
    retry: { initialInterval: '10 seconds', backoffCoefficient: 2, maximumAttempts: 5 },
    summary: 'Alert',
  });

export async function sendAlerts(alerted: AlertedItem): Promise<void> {
  const health = () => healthOf(alerted.item(), toIso(Date.now()));
  const lastTold = () => alerted.item().alertedHealth ?? 'Normal';
  for (;;) {
    await condition(() => alerted.over() || health() !== lastTold());
    if (alerted.over()) return;
    const item = alerted.item();
    const at = toIso(Date.now());
    const to = health();
    const reasons = conditionsOf(item, at).map(({ reason, message, since }) => ({
      reason,
      message,
      ...(since !== undefined && { since }),
    }));
    try {
      await alertsOf(item.vault).postAlert({ vault: item.vault, vm: item.vm, from: lastTold(), to, reasons, at });
    } catch (error) {
      if (isCancellation(error)) throw error;
      log.warn('An alert was not taken', { vm: item.vm, to, error: String(error) });
    }
    alerted.alerted(to);
  }
}
