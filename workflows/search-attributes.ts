/** Typed search attributes, by which operators filter in the Temporal Web UI. */
import { defineSearchAttributeKey, SearchAttributeType } from '@temporalio/common';

export const searchAttributes = {
  vault: defineSearchAttributeKey('FarshoreVault', SearchAttributeType.KEYWORD),
  vm: defineSearchAttributeKey('FarshoreVm', SearchAttributeType.KEYWORD),
  /** On entities: the phase of the protection. */
  phase: defineSearchAttributeKey('FarshorePhase', SearchAttributeType.KEYWORD),
  health: defineSearchAttributeKey('FarshoreHealth', SearchAttributeType.KEYWORD),
  /** On jobs and plan runs: their kind. */
  jobKind: defineSearchAttributeKey('FarshoreJob', SearchAttributeType.KEYWORD),
  /**
   * On jobs and plan runs: InProgress, WaitingForRetry, WaitingForPerson, Held, Succeeded, Failed, Cancelled. On
   * entities: WaitingForPerson while their own work needs an operator, otherwise not set.
   */
  jobState: defineSearchAttributeKey('FarshoreJobState', SearchAttributeType.KEYWORD),
  planRun: defineSearchAttributeKey('FarshorePlanRun', SearchAttributeType.KEYWORD),
  rpoSeconds: defineSearchAttributeKey('FarshoreRpoSeconds', SearchAttributeType.INT),
} as const;

/** In the form that the server expects: name to type. */
export const searchAttributeTypes: Readonly<Record<string, 'Keyword' | 'Int'>> = Object.fromEntries(
  Object.values(searchAttributes).map((key) => [key.name, key.type === SearchAttributeType.INT ? 'Int' : 'Keyword']),
);
