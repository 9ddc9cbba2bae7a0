/** The signals, updates and queries of the workflows, with the types of both ends. */
import { defineQuery, defineSignal, defineUpdate } from '@temporalio/workflow';
import { z } from 'zod';
import {
  jobKindSchema,
  jobParametersSchema,
  jobSchema,
  progressSchema,
  retryStateSchema,
  type Job,
} from '../domain/job.js';
import { hostStateSchema, hostTroubleSchema, type HostNews, type LocatedVm } from '../domain/host.js';
import { nameSchema } from '../domain/ids.js';
import { previewedKinds } from '../domain/job-preview.js';
import { tagRequestSchema, tagSchema } from '../domain/named-points.js';
import { recoveryPlanSchema } from '../domain/plan.js';
import { stepRequests, type PlanStep, type StepRequest } from '../domain/plan-graph.js';
import { planRunSchema, type PlanRun } from '../domain/plan-run.js';
import { policySchema } from '../domain/policy.js';
import { jobOutcomeSchema } from '../domain/job-outcome.js';
import type { ProtectedItemView } from '../domain/item-view.js';
import { protectedItemSchema } from '../domain/protected-item.js';
import { jobOperations, type JobOperation } from '../domain/jobs/known-jobs.js';

/** Parameters of a run that stay fixed for its lifetime, because they are part of its history. */
export const tuningSchema = z.object({
  /** Continue as new when the history has this many events; set by the code that began the run. */
  historyLimit: z.int().positive().optional(),
  /** Overrides that limit for this run and all that follow; for tests. */
  continueAsNewAfterEvents: z.int().positive().optional(),
});
export type Tuning = z.infer<typeof tuningSchema>;

/**
 * The limit for runs that begin now, in events. It may be changed, because existing runs keep theirs. A worker that
 * starts replays the histories of all workflows, about 1 ms for each event, so short histories keep that cheap.
 */
const HISTORY_LIMIT = 1_000;

/** Tuning of a run that this code begins. @param tuning of the run that begins it, if any. */
export const tuningOfNextRun = (tuning: Tuning | undefined): Tuning => ({ ...tuning, historyLimit: HISTORY_LIMIT });

export const protectVmInputSchema = z.object({
  vault: nameSchema,
  vm: nameSchema,
  host: nameSchema,
  vmmServer: nameSchema,
  policy: policySchema,
  /** Carried through continue-as-new. */
  item: protectedItemSchema.optional(),
  tuning: tuningSchema.optional(),
});
export type ProtectVmInput = z.infer<typeof protectVmInputSchema>;

/** State that a job carries through its own continue-as-new. */
export const carriedJobSchema = z.object({
  record: jobSchema,
  /** Results of finished steps, which are not repeated. */
  results: z.record(z.string(), z.unknown()),
  released: z.array(z.string()),
});

export const jobInputSchema = z.object({
  id: z.string(),
  vault: nameSchema,
  vm: nameSchema,
  host: nameSchema,
  vmmServer: nameSchema,
  epoch: z.int(),
  nextSequence: z.int(),
  /** Where the VM runs. */
  activeSide: z.enum(['primary', 'recovery']).default('primary'),
  /** The newest recovery point that the entity knows; empty if there is none. */
  recoveryPoint: z.string(),
  policy: policySchema,
  /** Names for recovery points that were requested before the job began: its cycles carry them. */
  tagRequests: z.array(tagRequestSchema).optional(),
  parameters: jobParametersSchema.optional(),
  planRun: z.string().optional(),
  holdBefore: z.array(z.string()).optional(),
  carried: carriedJobSchema.optional(),
  tuning: tuningSchema.optional(),
});
export type JobInput = z.infer<typeof jobInputSchema>;

/**
 * Where workflows leave their state for readers, who ask the server: that needs no worker and no replay of a history.
 * The memo of an entity, a job or a plan run.
 */
export type MemoKey = 'protectedItem' | 'job' | 'planRun';

/** To any workflow: continue as new as soon as possible, so that a new run adopts the behavior of the current code. */
export const continueAsNewSignal = defineSignal('continueAsNew');

// ---- to the protection entity -------------------------------------------------------------------------------------

export const operationRequestSchema = z.object({
  /** Chosen by the caller. A request repeated with the same id gets the same answer and has no further effect. */
  requestId: z.string().min(1).max(200),
});
export type OperationRequest = z.infer<typeof operationRequestSchema>;

export const jobOperationRequestSchema = operationRequestSchema.extend({ parameters: jobParametersSchema.optional() });
export type JobOperationRequest = z.infer<typeof jobOperationRequestSchema>;

export const policyRequestSchema = operationRequestSchema.extend({ policy: policySchema });
export type PolicyRequest = z.infer<typeof policyRequestSchema>;

/** The schema of a request. */
export type RequestSchema = z.ZodType<OperationRequest>;
export const syncRequestSchema = operationRequestSchema.extend({
  /** Names the recovery point of the cycle, which is then made even if nothing has changed. */
  tag: tagSchema.optional(),
});
export type SyncRequest = z.infer<typeof syncRequestSchema>;

export interface JobAccepted {
  readonly jobId: string;
}
export interface SyncAccepted {
  /** The cycle that will hold everything written so far. */
  readonly sequence: number;
}

/** Requests a job; the answer is its id. */
export const jobUpdate = (kind: string) => defineUpdate<JobAccepted, [JobOperationRequest]>(kind);
export const jobUpdates = Object.fromEntries(
  jobOperations().map((operation) => [operation, jobUpdate(operation)]),
) as Readonly<Record<JobOperation, ReturnType<typeof jobUpdate>>>;
export const syncUpdate = defineUpdate<SyncAccepted, [SyncRequest]>('sync');
export const resynchronizeRequestSchema = operationRequestSchema.extend({
  /** Immediately; otherwise in the window of the policy. */
  now: z.boolean(),
});
export type ResynchronizeRequest = z.infer<typeof resynchronizeRequestSchema>;
/** @returns the job, if it was to begin immediately. */
export const resynchronizeUpdate = defineUpdate<{ readonly jobId?: string }, [ResynchronizeRequest]>('resynchronize');
/** Retries the failing step now. @returns a description of the retried step. */
export const retryUpdate = defineUpdate<{ readonly retried: string }, [OperationRequest]>('retry');

/** Pauses the delta loop until `resume`. @returns since when. */
export const pauseUpdate = defineUpdate<{ readonly since: string }, [OperationRequest]>('pause');
export interface NextCycle {
  /** When the next cycle is due; undefined while no cycles are made. */
  readonly cycleDueAt?: string;
}
/** Makes a cycle due immediately. */
export const resumeUpdate = defineUpdate<NextCycle, [OperationRequest]>('resume');
/** Lets a failback shut the replica VM down. @returns its job. */
export const completeFailbackUpdate = defineUpdate<JobAccepted, [OperationRequest]>('completeFailback');
/** Takes effect with the next cycle. */
export const setPolicyUpdate = defineUpdate<NextCycle, [PolicyRequest]>('setPolicy');

/** Failure type of requests to an entity that is over but has not closed yet. */
export const PROTECTION_ENDING = 'ProtectionEnding';

export const protectedItemQuery = defineQuery<ProtectedItemView>('protectedItem');

/** A plan run requests a job by signal, and is answered by signal. */
export const jobRequestSignalSchema = z.object({
  requestId: z.string(),
  kind: jobKindSchema,
  planRun: z.string(),
  holdBefore: z.array(z.string()),
});
export type JobRequestSignal = z.infer<typeof jobRequestSignalSchema>;
export const requestJobSignal = defineSignal<[JobRequestSignal]>('requestJob');

/** A job reports its progress. */
export const jobProgressSchema = z.object({
  jobId: z.string(),
  task: z.string().optional(),
  progress: progressSchema.optional(),
  retry: retryStateSchema.optional(),
});
export const jobProgressedSignal = defineSignal<[z.infer<typeof jobProgressSchema>]>('jobProgressed');
export const jobEndSchema = z.object({ jobId: z.string(), result: jobOutcomeSchema });
export const jobEndedSignal = defineSignal<[z.infer<typeof jobEndSchema>]>('jobEnded');

export const hostNewsSignal = defineSignal<[HostNews]>('hostNews');
/** A job has found its VM on another host. */
export const vmMovedSignal = defineSignal<[LocatedVm]>('vmMoved');

// ---- to the watch over a host -------------------------------------------------------------------------------------

export const hostWatchInputSchema = z.object({
  vault: nameSchema,
  host: nameSchema,
  /** Protected VMs of the host. */
  vms: z.array(nameSchema),
  /** Carried through continue-as-new. */
  told: z.record(z.string(), z.string()).optional(),
  state: hostStateSchema.optional(),
  trouble: hostTroubleSchema.optional(),
  tuning: tuningSchema.optional(),
});
export type HostWatchInput = z.infer<typeof hostWatchInputSchema>;
/** A VM joins or leaves. One that joins is told the state of its host immediately. */
export const watchedVmSchema = z.object({ vm: nameSchema, watched: z.boolean() });
export const watchVmSignal = defineSignal<[z.infer<typeof watchedVmSchema>]>('watchVm');

// ---- to the board of a vault ---------------------------------------------------------------------------------------

export const showVaultInputSchema = z.object({
  vault: nameSchema,
  /** Carried through continue-as-new: the text shown, as Markdown, and since when it has been the same. */
  shown: z.object({ text: z.string(), digest: z.string(), since: z.string() }).optional(),
  tuning: tuningSchema.optional(),
});
export type ShowVaultInput = z.infer<typeof showVaultInputSchema>;

// ---- to a preview of a job ----------------------------------------------------------------------------------------

export const previewJobInputSchema = z.object({
  vault: nameSchema,
  vm: nameSchema,
  host: nameSchema,
  vmmServer: nameSchema,
  epoch: z.int(),
  kind: z.enum(previewedKinds),
  parameters: jobParametersSchema.optional(),
});
export type PreviewJobInput = z.infer<typeof previewJobInputSchema>;

// ---- to a job ---------------------------------------------------------------------------------------------------

export const jobQuery = defineQuery<Job>('job');
export const retryJobSignal = defineSignal('retryJob');
/** Releases a held job for a task. */
export const releasedTaskSchema = z.object({ task: z.string() });
export const releaseTaskSignal = defineSignal<[z.infer<typeof releasedTaskSchema>]>('releaseTask');
/**
 * `superseded`: another job takes over, so nothing is undone; if the job cannot be cancelled, it ends at its next
 * failure.
 */
export const jobCancellationSchema = z.object({ reason: z.string(), superseded: z.boolean().optional() });
export const cancelJobSignal = defineSignal<[z.infer<typeof jobCancellationSchema>]>('cancelJob');
/** Has no effect. If the job no longer exists, sending it fails, and that is the answer. */
export const stillThereSignal = defineSignal('stillThere');

// ---- to a plan run ----------------------------------------------------------------------------------------------

export const runRecoveryPlanInputSchema = z.object({
  vault: nameSchema,
  plan: recoveryPlanSchema,
  type: z.enum(['planned']),
  carried: planRunSchema.optional(),
  tuning: tuningSchema.optional(),
});
export type RunRecoveryPlanInput = z.infer<typeof runRecoveryPlanInputSchema>;

export const planRunQuery = defineQuery<PlanRun>('planRun');

/** An operator's decision on a step: a manual action is done or impossible, or a step is to be retried or skipped. */
export const planStepRequestSchema = operationRequestSchema.extend({
  /** Id of the step. */
  step: z.string().min(1),
  /** Reason, kept for later readers. */
  reason: z.string().optional(),
});
export type PlanStepRequest = z.infer<typeof planStepRequestSchema>;
const planStepUpdate = (request: StepRequest) => defineUpdate<PlanStep, [PlanStepRequest]>(request);
/** Each update returns the step as it is afterwards. */
export const planStepUpdates = Object.fromEntries(
  stepRequests.map((request) => [request, planStepUpdate(request)]),
) as Readonly<Record<StepRequest, ReturnType<typeof planStepUpdate>>>;

/** Ends the run in order, as cancelling it does, and records the reason. */
export const abortRunRequestSchema = operationRequestSchema.extend({ reason: z.string().optional() });
export type AbortRunRequest = z.infer<typeof abortRunRequestSchema>;
export const abortRunUpdate = defineUpdate<{ readonly aborted: string }, [AbortRunRequest]>('abortRun');

export const jobAnswerSchema = z.object({
  vm: z.string(),
  requestId: z.string(),
  jobId: z.string().optional(),
  refusal: z.string().optional(),
});
export const jobAnsweredSignal = defineSignal<[z.infer<typeof jobAnswerSchema>]>('jobAnswered');
export const heldJobSchema = z.object({ vm: z.string(), jobId: z.string(), task: z.string() });
export const jobHeldSignal = defineSignal<[z.infer<typeof heldJobSchema>]>('jobHeld');
export const planJobEndSchema = z.object({
  vm: z.string(),
  jobId: z.string(),
  outcome: z.enum(['succeeded', 'failed', 'cancelled']),
  reason: z.string().optional(),
  result: z.record(z.string(), z.unknown()).optional(),
});
export const planJobEndedSignal = defineSignal<[z.infer<typeof planJobEndSchema>]>('planJobEnded');
