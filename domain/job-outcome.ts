/** The outcome that a job reports to its VM, and the VM's state after it. */
import { z } from 'zod';
import { testedSchema } from './drill.js';
import { failureSchema, resyncCauseOf } from './errors.js';
import type { JobParameters } from './job.js';
import { jobDefinition, type JobKind } from './jobs/known-jobs.js';
import { afterTags, knownNames, namedPointSchema } from './named-points.js';
import { cycleSchema, type ProtectedItem } from './protected-item.js';
import { earlier, isoTimeSchema, toIso, toMs } from './time.js';
import { marked } from './resync-mark.js';
import { notUndoneSchema, undoingSchema, type Leftover } from './undoing.js';

export const JOBS_REMEMBERED = 10;

/** The outcome that a job reports to the entity; only the fields of its kind are present. */
export const jobOutcomeSchema = z.object({
  outcome: z.enum(['succeeded', 'failed', 'cancelled']),
  failure: failureSchema.optional(),
  epoch: z.int().optional(),
  /** Cycles the job itself made, so that the loop continues after them. */
  cycle: cycleSchema.optional(),
  recoveryPoint: z.object({ id: z.string(), time: isoTimeSchema }).optional(),
  /** What a test failover has made and found. */
  tested: testedSchema.optional(),
  /** Why the replica must be resynchronized although the job succeeded. */
  resyncCause: z.string().optional(),
  /** The recovery points that have a name, after the job's cycles. */
  namedPoints: z.array(namedPointSchema).optional(),
  /** Steps that it undid after it was abandoned. */
  undone: z.array(undoingSchema).optional(),
  /** Steps that it should have undone but has not. */
  notUndone: z.array(notUndoneSchema).optional(),
  /** The job did not report this itself: its leftovers are unknown. */
  closedFromOutside: z.boolean().optional(),
});
export type JobOutcome = z.infer<typeof jobOutcomeSchema>;

export function afterJob(
  item: ProtectedItem,
  kind: JobKind,
  event: { jobId: string; at: string; result: JobOutcome },
): ProtectedItem {
  const definition = jobDefinition(kind);
  const { job, leftovers: _, ...rest } = item;
  const { outcome, failure, epoch, recoveryPoint, namedPoints } = event.result;
  const sent = event.result.cycle;
  // As in the delta loop: a source clock that runs ahead must not hide the replica's age.
  const cycle = sent && { ...sent, sealedAt: earlier(sent.sealedAt, event.at) };
  const ended: ProtectedItem = {
    ...rest,
    recentJobs: [
      ...item.recentJobs,
      { id: event.jobId, kind, outcome, endedAt: event.at, ...(failure && { failure }) },
    ].slice(-JOBS_REMEMBERED),
    epoch: Math.max(item.epoch, epoch ?? 0),
    ...(cycle && {
      shipped: cycle,
      applied: cycle,
      // Sequences restart with each epoch.
      nextSequence: (epoch ?? 0) > item.epoch ? cycle.sequence + 1 : Math.max(item.nextSequence, cycle.sequence + 1),
    }),
    ...(cycle && afterTags(item, { epoch: kind === 'resynchronize' ? (epoch ?? 0) : item.epoch, ...cycle })),
    ...knownNames(item, namedPoints),
    ...(recoveryPoint && { latestRecoveryPoint: recoveryPoint }),
    ...leftoversAfter(item, kind, event, job?.parameters),
  };
  if (outcome !== 'succeeded' && failure?.class === 'needsResync') {
    const again = marked(ended, resyncCauseOf(failure), event.at);
    return kind === 'resynchronize'
      ? { ...again, resync: { ...again.resync!, notBefore: restUntil(event.at) } }
      : again;
  }
  if (kind === 'resynchronize' && outcome === 'cancelled' && item.resync) {
    const { dueAt: _due, ...resync } = item.resync;
    return { ...ended, resync: { ...resync, skipOpen: true, notBefore: restUntil(event.at) } };
  }
  if (outcome !== 'succeeded') {
    return definition.goesOn?.(item) ? { ...ended, cycleDueAt: event.at } : ended;
  }
  return definition.succeeded(item, resolved(ended), event);
}

/** Clears a failure that is over. */
export function resolved(item: ProtectedItem): ProtectedItem {
  const { unresolved, ...rest } = item;
  return unresolved ? rest : item;
}

/** One entry for each step to be undone; the newest job that left it has the latest information. */
function leftoversAfter(
  { leftovers = [], epoch }: ProtectedItem,
  kind: JobKind,
  { jobId, at, result }: { jobId: string; at: string; result: JobOutcome },
  parameters: JobParameters | undefined,
): Pick<ProtectedItem, 'leftovers'> {
  const { outcome, failure, undone = [], notUndone = [], closedFromOutside } = result;
  const unknown = closedFromOutside && failure ? (jobDefinition(kind).mayLeave?.(parameters) ?? []) : [];
  const left: Leftover[] = [...notUndone, ...unknown.map((what) => ({ what, epoch, failure: failure! }))].map(
    (one) => ({ ...one, jobId, kind, since: at }),
  );
  const settled = outcome === 'succeeded' ? (jobDefinition(kind).settles?.(parameters) ?? []) : undone;
  const kept = leftovers.filter(({ what }) => !settled.includes(what) && !left.some((one) => one.what === what));
  return kept.length + left.length > 0 ? { leftovers: [...kept, ...left] } : {};
}

/**
 * Comparing both sites is expensive: if something interrupts every resynchronization, they must not start one after
 * another without end.
 */
const RESYNC_REST_MS = 30 * 60_000;
const restUntil = (at: string): string => toIso(toMs(at) + RESYNC_REST_MS);
