/** Health may get worse by time alone, whatever else is waited for. */
import { nextHealthChange } from '../domain/health.js';
import type { ProtectedItem } from '../domain/protected-item.js';
import { toMs } from '../domain/time.js';
import { now, nowMs } from './clock.js';
import { until, untilOrAfter } from './wait.js';

const FAR_FUTURE = '9999-01-01T00:00:00.000Z';

export interface HealthWatch {
  item(): ProtectedItem;
  over(): boolean;
  publish(): void;
}

/** Publishes at each instant at which health may change. One timer at a time, replaced only by an earlier one. */
export async function watchHealth(watch: HealthWatch): Promise<void> {
  while (!watch.over()) {
    const nextChange = (after: string) => toMs(nextHealthChange(watch.item(), after) ?? FAR_FUTURE);
    const began = now();
    const at = nextChange(began);
    const changed = () => watch.over() || nextChange(began) < at;
    if (at === toMs(FAR_FUTURE)) await until(changed);
    else await untilOrAfter(changed, at - nowMs(), 'Health');
    watch.publish();
  }
}
