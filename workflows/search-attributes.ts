/** Typed search attributes: what an operator filters by in the Temporal Web UI. */
import { defineSearchAttributeKey, SearchAttributeType } from '@temporalio/common';

export const searchAttributes = {
  vault: defineSearchAttributeKey('FarshoreVault', SearchAttributeType.KEYWORD),
  vm: defineSearchAttributeKey('FarshoreVm', SearchAttributeType.KEYWORD),
  /** Entities: the resting phase. */
  phase: defineSearchAttributeKey('FarshorePhase', SearchAttributeType.KEYWORD),
  health: defineSearchAttributeKey('FarshoreHealth', SearchAttributeType.KEYWORD),
  /** Jobs and plan runs: what is done. */
  jobKind: defineSearchAttributeKey('FarshoreJob', SearchAttributeType.KEYWORD),
  /**
   * Jobs and plan runs: InProgress, WaitingForRetry, WaitingForPerson, Held, Succeeded, Failed, Cancelled. Entities:
   * WaitingForPerson, while nothing of their own goes on without one; else none.
   */
  jobState: defineSearchAttributeKey('FarshoreJobState', SearchAttributeType.KEYWORD),
  planRun: defineSearchAttributeKey('FarshorePlanRun', SearchAttributeType.KEYWORD),
  rpoSeconds: defineSearchAttributeKey('FarshoreRpoSeconds', SearchAttributeType.INT),
} as const;

/** As the server wants to be told: name to type. */
export const searchAttributeTypes: Readonly<Record<string, 'Keyword' | 'Int'>> = Object.fromEntries(
  Object.values(searchAttributes).map((key) => [key.name, key.type === SearchAttributeType.INT ? 'Int' : 'Keyword']),
);
