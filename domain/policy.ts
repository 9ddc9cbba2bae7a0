/** Replication policy: how often changes are sent and how long recovery points are kept. */
import { z } from 'zod';
import { nameSchema } from './ids.js';
import { resyncWindowSchema } from './resync-window.js';

export const copyFrequencies = ['30s', '5m', '15m'] as const;
const copyFrequencyMilliseconds = { '30s': 30_000, '5m': 300_000, '15m': 900_000 } as const;

export const policySchema = z.strictObject({
  name: nameSchema,
  /** How often the changes are cut and sent. */
  copyFrequency: z.enum(copyFrequencies).default('5m'),
  /** Hours a recovery point is kept; 0 keeps the newest only. */
  recoveryPointRetentionHours: z.int().min(0).max(24).default(2),
  /** When a resynchronization may begin by itself: outside office hours, or always. */
  resynchronizationWindow: resyncWindowSchema.default({ from: '18:30', to: '06:00', timeZone: 'UTC' }),
});
export type Policy = z.infer<typeof policySchema>;

export const copyFrequencyMs = (policy: Policy): number => copyFrequencyMilliseconds[policy.copyFrequency];
