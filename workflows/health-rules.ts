/** How a run judges health: as it did when it began. */
import { patched } from '@temporalio/workflow';
import type { HealthRules } from '../domain/health.js';
import { OVERDUE_COUNTS } from './versions.js';

/** Not to be called in a condition. */
export const healthRules = (): HealthRules => ({
  overdueCounts: patched(OVERDUE_COUNTS),
  // Alerts and search attributes would come at other instants than runs that have begun have sent them.
  silenceIsOne: false,
});
