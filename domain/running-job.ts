/** A job as the entity of its VM knows it: requested, and running. */
import { z } from 'zod';
import { jobKindSchema, jobParametersSchema, progressSchema, retryStateSchema } from './job.js';
import { isoTimeSchema } from './time.js';

/** An accepted job. The request's ID makes repeating the request harmless. */
export const jobRequestSchema = z.object({
  requestId: z.string(),
  jobId: z.string(),
  kind: jobKindSchema,
  parameters: jobParametersSchema.optional(),
  /** Workflow ID of the plan run that requested it. */
  planRun: z.string().optional(),
  /** Tasks before which the job waits until the plan run lets it continue. */
  holdBefore: z.array(z.string()).optional(),
});
export type JobRequest = z.infer<typeof jobRequestSchema>;

export const runningJobSchema = jobRequestSchema.extend({
  startedAt: isoTimeSchema,
  task: z.string().optional(),
  progress: progressSchema.optional(),
  retry: retryStateSchema.optional(),
  /** When the job was last heard from; a job that stays silent is asked whether it still exists. */
  heardAt: isoTimeSchema,
});
