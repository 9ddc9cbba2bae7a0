/** App-consistent recovery points: when the policy requires one, and the outcome of the newest attempt. */
import { z } from 'zod';
import type { Policy } from './policy.js';
import { isoTimeSchema, toMs } from './time.js';

/** Why a cut is only crash-consistent although an app-consistent one was requested. */
export const appConsistentFailureSchema = z.object({
  reason: z.enum(['GuestAgentMissing', 'AppConsistentFailed']),
  message: z.string(),
});
export type AppConsistentFailure = z.infer<typeof appConsistentFailureSchema>;

/** Outcome of the newest cycle for which an app-consistent state was requested. */
export const appConsistencySchema = z.object({
  /** When the cycle had been sent, by the workflow's clock, which also decides when the next one is due. */
  triedAt: isoTimeSchema,
  /** Absent if the cycle is app-consistent. */
  failure: appConsistentFailureSchema.extend({ since: isoTimeSchema }).optional(),
});
export type AppConsistency = z.infer<typeof appConsistencySchema>;

const HOUR_MS = 3_600_000;
/** After a failure, the guest is not frozen again with every cycle, because each attempt may hold up its work. ms. */
const AFTER_FAILURE_MS = 15 * 60_000;

interface Considered {
  readonly policy: Policy;
  readonly appConsistency?: AppConsistency | undefined;
}

/** @param now ISO 8601, by the workflow's clock. */
export function isAppConsistentDue({ policy, appConsistency: last }: Considered, now: string): boolean {
  const hours = policy.appConsistentFrequencyHours;
  if (hours === 0) return false;
  if (!last) return true;
  const period = last.failure ? Math.min(AFTER_FAILURE_MS, hours * HOUR_MS) : hours * HOUR_MS;
  return toMs(now) >= toMs(last.triedAt) + period;
}

/** @param failure of the attempt; undefined if the cycle is app-consistent. */
export const afterAttempt = (
  last: AppConsistency | undefined,
  failure: AppConsistentFailure | undefined,
  at: string,
): AppConsistency => ({
  triedAt: at,
  ...(failure && { failure: { ...failure, since: last?.failure?.since ?? at } }),
});
