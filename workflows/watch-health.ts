/** Health may get worse by time alone, whatever else is waited for. */
import { condition } from '@temporalio/workflow';
import { nextHealthChange } from '../domain/health.js';
import type { ProtectedItem } from '../domain/protected-item.js';
import { toIso, toMs } from '../domain/time.js';

const FAR_FUTURE = '9999-01-01T00:00:00.000Z';

export interface HealthWatch {
  item(): ProtectedItem;
  over(): boolean;
  publish(): void;
}

/** Publishes at each instant at which health may change. One timer at a time, replaced only by an earlier one. */
export async function watchHealth(watch: HealthWatch): Promise<void> {
  const nextChange = () => toMs(nextHealthChange(watch.item(), toIso(Date.now())) ?? FAR_FUTURE);
  while (!watch.over()) {
    const at = nextChange();
    const changed = () => watch.over() || nextChange() < at;
    if (at === toMs(FAR_FUTURE)) await condition(changed);
    else await condition(changed, Math.max(1, at - Date.now()), { summary: 'Health' });
    watch.publish();
  }
}
