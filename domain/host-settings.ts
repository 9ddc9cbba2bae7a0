/** A Hyper-V host in the site file: how fast its agent sends, and how much it does at a time. */
import { z } from 'zod';
import { bandwidthSchema } from './bandwidth.js';
import { nameSchema } from './ids.js';

const atATime = z.int().min(1).max(64);

export const siteHostSchema = z.strictObject({
  name: nameSchema,
  /** What the agent sends to the store, in sum; left out: unlimited. */
  bandwidth: bandwidthSchema.optional(),
  /** Initial copies, resynchronizations and verifications that work at a time. */
  concurrentCopies: atATime.default(2),
  /** Replication cycles that are sent at a time. */
  concurrentCycles: atATime.default(8),
});
export type SiteHost = z.infer<typeof siteHostSchema>;
