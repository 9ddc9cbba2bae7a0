/**
 * Replication policy: how often changes are sent, how long recovery points are kept, and how often guests are frozen
 * for one.
 */
import { z } from 'zod';
import { nameSchema } from './ids.js';
import { resyncWindowSchema } from './resync-window.js';

export const copyFrequencies = ['30s', '5m', '15m'] as const;
const copyFrequencyMilliseconds = { '30s': 30_000, '5m': 300_000, '15m': 900_000 } as const;

export const policySchema = z.strictObject({
  name: nameSchema,
  copyFrequency: z.enum(copyFrequencies).default('5m').describe('How often changes are sent.'),
  recoveryPointRetentionHours: z
    .int()
    .min(0)
    .max(24)
    .default(2)
    .describe('Hours for which a recovery point is kept; 0 keeps only the newest.'),
  appConsistentFrequencyHours: z
    .int()
    .min(0)
    .max(12)
    .default(0)
    .describe('Hours between app-consistent recovery points, at most the retention; 0: none.'),
  resynchronizationWindow: resyncWindowSchema
    .default({ from: '18:30', to: '06:00', timeZone: 'UTC' })
    .describe('When a resynchronization may start automatically: within a window, or always.'),
});
export type Policy = z.infer<typeof policySchema>;

/** A problem of a policy whose single values are all valid. */
export interface PolicyProblem {
  readonly field: keyof Policy;
  readonly message: string;
  readonly remedy: string;
}

export function checkPolicy(policy: Policy): PolicyProblem[] {
  const { recoveryPointRetentionHours: retention, appConsistentFrequencyHours: frequency } = policy;
  if (frequency <= retention) return [];
  return [
    {
      field: 'appConsistentFrequencyHours',
      message: `app-consistent points would be made every ${frequency} h but kept for only ${retention} h, so most of the time there would be none`,
      remedy:
        retention === 0
          ? 'write 0, or keep recovery points for longer (recoveryPointRetentionHours)'
          : `write at most ${retention}, or keep recovery points for longer (recoveryPointRetentionHours)`,
    },
  ];
}

export const copyFrequencyMs = (policy: Policy): number => copyFrequencyMilliseconds[policy.copyFrequency];
