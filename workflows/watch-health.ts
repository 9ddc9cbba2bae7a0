/** Health may get worse by time alone, whatever else is waited for. */
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

/** Publishes at each instant at which health may change. One timer at a time, replaced only by an earlier one. */
export class HealthWatch {
  /** When its timer ends, ms. */
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
   * Does its timer end at this instant? Most do when a cycle is due: whoever waits for that needs no timer of its own, as
   * long as this is true.
   */
  endsAt(ms: number): boolean {
    return this.next === ms;
  }
}
