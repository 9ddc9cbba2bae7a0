/** A preview of a job: what it would do now, and everything that prevents it. */
import { z } from 'zod';
import { failoverCancellationSchema } from './failover-cancellation.js';
import { pointChangeSchema } from './point-change.js';
import { replicaVmStateSchema } from './replica-vm.js';

/** Kinds of jobs that can be previewed. */
export const previewedKinds = ['changeRecoveryPoint', 'cancelFailover', 'failback'] as const;
export type PreviewedKind = (typeof previewedKinds)[number];

/** What a failback would bring back, and where to. */
export const failbackPlanSchema = z.object({
  host: z.string(),
  replicaVm: replicaVmStateSchema,
});
export type FailbackPlan = z.infer<typeof failbackPlanSchema>;

export const jobPreviewSchema = z.object({
  /** Why the job would fail, each with what to do about it. Empty if nothing prevents the job. */
  blockers: z.array(z.string()),
  /** Of "Change recovery point". */
  pointChange: pointChangeSchema.optional(),
  /** Of "Failback". */
  failback: failbackPlanSchema.optional(),
  /** Of "Cancel failover". */
  cancellation: failoverCancellationSchema.optional(),
});
export type JobPreview = z.infer<typeof jobPreviewSchema>;
