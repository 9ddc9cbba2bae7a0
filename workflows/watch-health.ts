/** Health may get worse with time alone, whatever else the workflow waits for. */
import { nextHealthChange } from '../domain/health.js';
import type { ProtectedItem } from '../domain/protected-item.js';
import { toMs } from '../domain/time.js';
import { now, nowMs } from './clock.js';
import { until, untilOrAfter } from './wait.js';

const NEVER = Number.POSITIVE_INFINITY;

export interface WatchedEntity {
  item(): ProtectedItem;
  over(): boolean;
  publish(): void;
}

/**
 * Publishes at each instant at which health may change. Has one timer at a time, and replaces it only with an earlier
 * one.
 */
export class HealthWatch {
  /** When the current timer ends, ms. */
  private next = NEVER;

  constructor(private readonly entity: WatchedEntity) {}

  async run(): Promise<void> {
    const { entity } = this;
    while (!entity.over()) {
      const nextChange = (after: string) => {
        const at = nextHealthChange(entity.item(), after);
        return at === undefined ? NEVER : toMs(at);
      };
      const began = now();
      const at = nextChange(began);
      this.next = at;
      const changed = () => entity.over() || nextChange(began) < at;
      if (at === NEVER) await until(changed);
      else await untilOrAfter(changed, at - nowMs(), 'Health');
      entity.publish();
    }
    this.next = NEVER;
  }

  /**
   * Whether the current timer ends at this instant. Most timers end when a cycle is due: as long as this is true, the
   * wait for that cycle needs no timer of its own.
   */
  endsAt(ms: number): boolean {
    return this.next === ms;
  }
}
