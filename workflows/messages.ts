/** What can be asked of and told to the running workflows, and the types on both ends. */
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
import { tagRequestSchema, tagSchema } from '../domain/named-points.js';
import { recoveryPlanSchema } from '../domain/plan.js';
import { stepRequests, type PlanStep, type StepRequest } from '../domain/plan-graph.js';
import { planRunSchema, type PlanRun } from '../domain/plan-run.js';
import { policySchema } from '../domain/policy.js';
import { jobOutcomeSchema } from '../domain/job-outcome.js';
import type { ProtectedItemView } from '../domain/item-view.js';
import { protectedItemSchema } from '../domain/protected-item.js';
import { jobOperations, type JobOperation } from '../domain/jobs/known-jobs.js';

/** What a run goes by as long as it lasts: it is part of its history. */
export const tuningSchema = z.object({
  /** Continue as new once the history has this many events; of the code that the run was begun by. */
  historyLimit: z.int().positive().optional(),
  /** Instead of that, for this run and all that follow: for tests. */
  continueAsNewAfterEvents: z.int().positive().optional(),
});
export type Tuning = z.infer<typeof tuningSchema>;

/**
 * Of runs that begin now, in events: it can be changed, as runs that have begun keep theirs. A worker that starts goes through
 * the histories of all workflows: short ones keep that cheap, about 1 ms an event.
 */
const HISTORY_LIMIT = 1_000;

/** Of a run that is begun by this code. @param tuning of the run that begins it, if one does. */
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

/** What a job carries through its own continue-as-new. */
export const carriedJobSchema = z.object({
  record: jobSchema,
  /** Results of the steps that are done: they are not done again. */
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
  /** The newest recovery point the entity knows; empty while there is none. */
  recoveryPoint: z.string(),
  policy: policySchema,
  /** Names asked for of recovery points before it began: the cycles it makes carry them. */
  tagRequests: z.array(tagRequestSchema).optional(),
  parameters: jobParametersSchema.optional(),
  planRun: z.string().optional(),
  holdBefore: z.array(z.string()).optional(),
  carried: carriedJobSchema.optional(),
  tuning: tuningSchema.optional(),
});
export type JobInput = z.infer<typeof jobInputSchema>;

/**
 * Where workflows leave what they would answer, for those who ask the server: no worker is needed for it, and none has to
 * go through a history. The memo of an entity, a job, a plan run.
 */
export type MemoKey = 'protectedItem' | 'job' | 'planRun';

/** To any workflow: it continues as new as soon as it can, and leaves the past behaviour that its history holds it to. */
export const continueAsNewSignal = defineSignal('continueAsNew');

// ---- to the protection entity -------------------------------------------------------------------------------------

export const operationRequestSchema = z.object({
  /** Chosen by the caller; asking again with the same id answers the same and does nothing. */
  requestId: z.string().min(1).max(200),
});
export type OperationRequest = z.infer<typeof operationRequestSchema>;

export const jobOperationRequestSchema = operationRequestSchema.extend({ parameters: jobParametersSchema.optional() });
export type JobOperationRequest = z.infer<typeof jobOperationRequestSchema>;

export const policyRequestSchema = operationRequestSchema.extend({ policy: policySchema });
export type PolicyRequest = z.infer<typeof policyRequestSchema>;

/** What a request has to look like. */
export type RequestSchema = z.ZodType<OperationRequest>;
export const syncRequestSchema = operationRequestSchema.extend({
  /** Names the recovery point of the cycle, which is made even when nothing has changed. */
  tag: tagSchema.optional(),
});
export type SyncRequest = z.infer<typeof syncRequestSchema>;

export interface JobAccepted {
  readonly jobId: string;
}
export interface SyncAccepted {
  /** The cycle that will hold everything written until now. */
  readonly sequence: number;
}

/** Asks for a job, and is answered with its id. */
export const jobUpdate = (kind: string) => defineUpdate<JobAccepted, [JobOperationRequest]>(kind);
export const jobUpdates = Object.fromEntries(
  jobOperations().map((operation) => [operation, jobUpdate(operation)]),
) as Readonly<Record<JobOperation, ReturnType<typeof jobUpdate>>>;
export const syncUpdate = defineUpdate<SyncAccepted, [SyncRequest]>('sync');
export const resynchronizeRequestSchema = operationRequestSchema.extend({
  /** At once; else in the window of the policy. */
  now: z.boolean(),
});
export type ResynchronizeRequest = z.infer<typeof resynchronizeRequestSchema>;
/** @returns the job, when it was to begin at once. */
export const resynchronizeUpdate = defineUpdate<{ readonly jobId?: string }, [ResynchronizeRequest]>('resynchronize');
/** Tries the failing step at once. @returns what is tried again. */
export const retryUpdate = defineUpdate<{ readonly retried: string }, [OperationRequest]>('retry');

/** The delta loop rests until `resume`. @returns since when. */
export const pauseUpdate = defineUpdate<{ readonly since: string }, [OperationRequest]>('pause');
export interface NextCycle {
  /** When the next cycle is due; undefined while none are made. */
  readonly cycleDueAt?: string;
}
/** A cycle is due at once. */
export const resumeUpdate = defineUpdate<NextCycle, [OperationRequest]>('resume');
/** Takes effect with the next cycle. */
export const setPolicyUpdate = defineUpdate<NextCycle, [PolicyRequest]>('setPolicy');

/** Type of the failure of what was asked of an entity that is over, and has not closed yet. */
export const PROTECTION_ENDING = 'ProtectionEnding';

export const protectedItemQuery = defineQuery<ProtectedItemView>('protectedItem');

/** A plan run asks for a job by signal and is answered by signal. */
export const jobRequestSignalSchema = z.object({
  requestId: z.string(),
  kind: jobKindSchema,
  planRun: z.string(),
  holdBefore: z.array(z.string()),
});
export type JobRequestSignal = z.infer<typeof jobRequestSignalSchema>;
export const requestJobSignal = defineSignal<[JobRequestSignal]>('requestJob');

/** A job tells how it is getting on. */
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
/** A VM joins, or leaves; one that joins is told at once how its host is. */
export const watchedVmSchema = z.object({ vm: nameSchema, watched: z.boolean() });
export const watchVmSignal = defineSignal<[z.infer<typeof watchedVmSchema>]>('watchVm');

// ---- to the board of a vault ---------------------------------------------------------------------------------------

export const showVaultInputSchema = z.object({
  vault: nameSchema,
  /** Carried through continue-as-new: what is shown, in Markdown, and since when it says so. */
  shown: z.object({ text: z.string(), digest: z.string(), since: z.string() }).optional(),
  tuning: tuningSchema.optional(),
});
export type ShowVaultInput = z.infer<typeof showVaultInputSchema>;

// ---- to a job ---------------------------------------------------------------------------------------------------

export const jobQuery = defineQuery<Job>('job');
export const retryJobSignal = defineSignal('retryJob');
/** Lets a held job go on with a task. */
export const releasedTaskSchema = z.object({ task: z.string() });
export const releaseTaskSignal = defineSignal<[z.infer<typeof releasedTaskSchema>]>('releaseTask');
/** `superseded`: another job takes over, so nothing is undone, and where it can't be cancelled it ends at the next failure. */
export const jobCancellationSchema = z.object({ reason: z.string(), superseded: z.boolean().optional() });
export const cancelJobSignal = defineSignal<[z.infer<typeof jobCancellationSchema>]>('cancelJob');
/** Asks for nothing: it fails when the job does not exist any more, and that is the answer. */
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

/** What a person says of a step: that a manual action is done, or can't be; that it is to be tried again, or left out. */
export const planStepRequestSchema = operationRequestSchema.extend({
  /** Its id. */
  step: z.string().min(1),
  /** For whoever reads of it later. */
  reason: z.string().optional(),
});
export type PlanStepRequest = z.infer<typeof planStepRequestSchema>;
const planStepUpdate = (request: StepRequest) => defineUpdate<PlanStep, [PlanStepRequest]>(request);
/** Each answers with the step as it is then. */
export const planStepUpdates = Object.fromEntries(
  stepRequests.map((request) => [request, planStepUpdate(request)]),
) as Readonly<Record<StepRequest, ReturnType<typeof planStepUpdate>>>;

/** Ends the run in order, as its cancellation does, and says why. */
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
