/** A Hyper-V host in the site file: how fast its agent sends, and how many transfers it runs at a time. */
import { z } from 'zod';
import { bandwidthSchema } from './bandwidth.js';
import { nameSchema } from './ids.js';

const atATime = z.int().min(1).max(64);

export const siteHostSchema = z.strictObject({
  name: nameSchema,
  bandwidth: bandwidthSchema
    .optional()
    .describe('Total rate at which the agent sends to the store. Left out: unlimited.'),
  concurrentCopies: atATime
    .default(2)
    .describe('Initial copies, resynchronizations and verifications that run at the same time.'),
  concurrentCycles: atATime.default(8).describe('Replication cycles that are sent at the same time.'),
});
export type SiteHost = z.infer<typeof siteHostSchema>;
