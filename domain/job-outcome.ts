/** What a job tells its VM when it ends, and what the VM is after it. */
import { z } from 'zod';
import { failureSchema, resyncCauseOf } from './errors.js';
import type { JobKind } from './job.js';
import { afterTags, knownNames, namedPointSchema } from './named-points.js';
import { cycleSchema, type ProtectedItem } from './protected-item.js';
import { earlier, isoTimeSchema, toIso, toMs } from './time.js';

const JOBS_REMEMBERED = 10;

/** What a job tells the entity when it ends; only the fields of its kind are there. */
export const jobOutcomeSchema = z.object({
  outcome: z.enum(['succeeded', 'failed', 'cancelled']),
  failure: failureSchema.optional(),
  epoch: z.int().optional(),
  /** Cycles the job itself made, so that the loop goes on after them. */
  cycle: cycleSchema.optional(),
  recoveryPoint: z.object({ id: z.string(), time: isoTimeSchema }).optional(),
  /** Why the replica has to be resynchronized, although the job has succeeded. */
  resyncCause: z.string().optional(),
  /** The points that have a name, after the job's cycles. */
  namedPoints: z.array(namedPointSchema).optional(),
});
export type JobOutcome = z.infer<typeof jobOutcomeSchema>;

export function afterJob(
  item: ProtectedItem,
  kind: JobKind,
  event: { jobId: string; at: string; result: JobOutcome },
): ProtectedItem {
  const { job: _, ...rest } = item;
  const { outcome, failure, epoch, recoveryPoint, namedPoints } = event.result;
  const sent = event.result.cycle;
  // As in the delta loop: a source clock that runs ahead must not hide how old the replica is.
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
      // Sequences begin anew with an epoch.
      nextSequence: (epoch ?? 0) > item.epoch ? cycle.sequence + 1 : Math.max(item.nextSequence, cycle.sequence + 1),
    }),
    ...(cycle && afterTags(item, { epoch: kind === 'resynchronize' ? (epoch ?? 0) : item.epoch, ...cycle })),
    ...knownNames(item, namedPoints),
    ...(recoveryPoint && { latestRecoveryPoint: recoveryPoint }),
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
    // A failover that was given up: the source runs again and its changes go on being sent.
    const goesOn =
      kind === 'plannedFailover' ||
      kind === 'verifyReplica' ||
      (kind === 'unplannedFailover' && item.phase === 'Protected' && !item.resync);
    return goesOn ? { ...ended, cycleDueAt: event.at } : ended;
  }
  switch (kind) {
    case 'enableProtection': {
      const { begunSequence: _b, requestedSequence: _r, ...fresh } = ended;
      return { ...whole(fresh), phase: 'Seeding', nextSequence: ended.epoch > item.epoch ? 1 : ended.nextSequence };
    }
    case 'initialReplication':
      return whole(ended);
    case 'finalizeProtection':
      return {
        ...ended,
        phase: 'Protected',
        protectedSince: event.at,
        // A VM that is marked has no cycles to wait for.
        ...(!ended.resync && { cycleDueAt: event.at }),
      };
    case 'resynchronize': {
      const { begunSequence: _b, requestedSequence: _r, ...equal } = whole(ended);
      return item.phase === 'Protected' ? { ...equal, cycleDueAt: event.at } : equal;
    }
    case 'plannedFailover': {
      const { cycleDueAt: _due, paused: _p, ...stopped } = ended;
      return { ...stopped, phase: 'FailedOver', activeSide: 'recovery' };
    }
    case 'unplannedFailover': {
      const { cycleDueAt: _due, resync: _resync, retry: _retry, paused: _p, ...stopped } = ended;
      return {
        ...stopped,
        phase: 'FailedOver',
        activeSide: 'recovery',
        // What was waiting was meant for a VM that runs at the primary site.
        pending: [],
        sourceFence: { epoch: ended.epoch, since: event.at },
      };
    }
    case 'commitFailover':
      return { ...ended, phase: 'Committed' };
    case 'verifyReplica': {
      // The cycles that were due meanwhile have not been missed: they are made good at once.
      const due = item.phase === 'Protected' ? { ...ended, cycleDueAt: event.at } : ended;
      const cause = event.result.resyncCause;
      return cause === undefined ? due : marked(due, cause, event.at);
    }
    case 'disableProtection': {
      const { cycleDueAt: _d, shipped: _s, applied: _a, latestRecoveryPoint: _l, resync: _r, ...left } = ended;
      const { paused: _p, protectedSince: _ps, hostTrouble: _h, ...rest } = left;
      return { ...rest, phase: 'Unprotected', cycleHistory: [] };
    }
  }
}

/** Comparing both sides is dear: what breaks off each one must not have them begun without end. */
const RESYNC_REST_MS = 30 * 60_000;
const restUntil = (at: string): string => toIso(toMs(at) + RESYNC_REST_MS);

/** A mark of what was before a whole copy that has been begun, or read back and found equal, says nothing any more. */
function whole(item: ProtectedItem): ProtectedItem {
  const { resync: _, ...rest } = item;
  return rest;
}

/** No cycle is made of it until a resynchronization has made both sides equal. */
export function marked(item: ProtectedItem, cause: string, at: string): ProtectedItem {
  const { retry: _, cycleDueAt: _due, ...rest } = item;
  return { ...rest, resync: { cause, since: item.resync?.since ?? at } };
}
