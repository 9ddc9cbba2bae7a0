/** Random events for a protected item: any at all, and those of a life as the workflow lets it happen. */
import fc from 'fast-check';
import { toFailure, type FailureCode } from '../../domain/errors.js';
import { followUpOf, jobKinds, type JobKind } from '../../domain/jobs/known-jobs.js';
import { copyFrequencies, policySchema } from '../../domain/policy.js';
import { allowedOperations } from '../../domain/operations.js';
import { newProtectedItem, type ProtectedItem } from '../../domain/protected-item.js';
import { next, type ItemEvent } from '../../domain/transitions.js';
import type { JobOutcome } from '../../domain/job-outcome.js';
import { toIso } from '../../domain/time.js';

export const START_MS = Date.UTC(2026, 2, 1);
export const at = (seconds: number): string => toIso(START_MS + seconds * 1000);

export const newItem = (): ProtectedItem =>
  newProtectedItem({
    vault: 'vault-1',
    vm: 'db-01',
    host: 'host-1',
    vmmServer: 'vmm-1',
    policy: policySchema.parse({ name: 'p' }),
  });

const time = fc.integer({ min: 0, max: 100_000 }).map(at);
const kind = fc.constantFrom(...jobKinds);
const failure = fc
  .constantFrom<FailureCode>('StoreUnreachable', 'ResyncRequired', 'DiskMissing')
  .map((code) => toFailure(code, `simulated ${code}`));
const retry = fc.record(
  { failure, attempt: fc.integer({ min: 1, max: 9 }), since: time, nextTryAt: time },
  { requiredKeys: ['failure', 'attempt', 'since'] },
);
const cycle = fc.record({ sequence: fc.integer({ min: 1, max: 9 }), sealedAt: time, bytes: fc.nat(9999) });
const point = fc.record({ id: fc.constantFrom('a', 'b'), time });
/** Few, so that events meet the jobs they are about. */
const jobId = fc.constantFrom('job-1', 'job-2', 'job-3');

/** Whatever `next` may be told, in no order that would make sense. */
export const anyEvent: fc.Arbitrary<ItemEvent> = fc.oneof(
  fc.record({
    type: fc.constant('jobRequested' as const),
    request: fc.record({ requestId: fc.uuid(), jobId, kind }),
  }),
  fc.record({ type: fc.constant('jobStarted' as const), jobId, at: time }),
  fc.record({
    type: fc.constant('jobProgressed' as const),
    jobId,
    at: time,
    task: fc.option(fc.constant('a task'), { nil: undefined }),
    progress: fc.option(fc.constant({ bytesDone: 1, bytesTotal: 2 }), { nil: undefined }),
    retry: fc.option(retry, { nil: undefined }),
  }),
  fc.record({
    type: fc.constant('jobEnded' as const),
    jobId,
    at: time,
    result: fc.record(
      {
        outcome: fc.constantFrom('succeeded' as const, 'failed' as const, 'cancelled' as const),
        failure,
        epoch: fc.nat(5),
        cycle,
        recoveryPoint: point,
      },
      { requiredKeys: ['outcome'] },
    ),
  }),
  fc.record({ type: fc.constant('cycleRequested' as const), at: time }),
  fc.record({ type: fc.constant('cycleShipped' as const), cycle }),
  fc.record({
    type: fc.constant('cycleApplied' as const),
    cycle,
    at: time,
    recoveryPoint: fc.option(point, { nil: undefined }),
  }),
  fc.record({ type: fc.constant('stepFailed' as const), retry }),
  fc.record({ type: fc.constant('retryRequested' as const), at: time }),
  fc.record({ type: fc.constant('stepRecovered' as const) }),
  fc.record({ type: fc.constant('resyncRequired' as const), cause: fc.constant('a cause'), at: time }),
  fc.record({ type: fc.constant('resyncScheduled' as const), dueAt: time }),
  fc.record({ type: fc.constant('cycleBegun' as const) }),
  fc.record({ type: fc.constantFrom('paused' as const, 'resumed' as const), at: time }),
  fc.record({
    type: fc.constant('policyChanged' as const),
    policy: fc
      .constantFrom(...copyFrequencies)
      .map((copyFrequency) => policySchema.parse({ name: 'q', copyFrequency })),
    at: time,
  }),
  fc.record({
    type: fc.constant('hostChanged' as const),
    news: fc.record(
      { trouble: fc.record({ failure, since: time }), stopped: fc.record({ epoch: fc.nat(5), cause: fc.string() }) },
      { requiredKeys: [] },
    ),
    at: time,
  }),
  fc.record({
    type: fc.constant('vmMoved' as const),
    found: fc.record(
      {
        host: fc.constantFrom('h', 'h2'),
        tracking: fc.record({ epoch: fc.nat(5), resyncCause: fc.string() }, { requiredKeys: ['epoch'] }),
      },
      { requiredKeys: ['host'] },
    ),
    at: time,
  }),
  fc.record({ type: fc.constant('alerted' as const), health: fc.constantFrom('Normal', 'Warning', 'Critical') }),
);

const outcomes = ['succeeded', 'succeeded', 'failed', 'cancelled'] as const;

/** What happens next; what the item does not allow then does not. */
export const move = fc.record({
  seconds: fc.integer({ min: 0, max: 2_000 }),
  does: fc.oneof(
    { weight: 3, arbitrary: fc.constant('goOn' as const) },
    { weight: 2, arbitrary: fc.constantFrom('ask', 'retry', 'start', 'end', 'progress', 'cycle', 'fail', 'drill') },
  ),
  asked: fc.constantFrom(
    'enableProtection' as const,
    'plannedFailover' as const,
    'unplannedFailover' as const,
    'changeRecoveryPoint' as const,
    'cancelFailover' as const,
    'commitFailover' as const,
  ),
  outcome: fc.constantFrom(...outcomes),
  code: fc.constantFrom<FailureCode>('StoreUnreachable', 'DiskMissing', 'ResyncRequired'),
});
export type Move = typeof move extends fc.Arbitrary<infer T> ? T : never;

/** The protection entity without Temporal: what it asks before it tells `next` of an event, and what it does by itself. */
export class Life {
  item = newItem();
  #now = 0;
  #jobs = 0;

  /** @param onEvent sees every change. */
  constructor(private readonly onEvent: (before: ProtectedItem, event: ItemEvent, after: ProtectedItem) => void) {}

  get now(): string {
    return at(this.#now);
  }

  make(move: Move): void {
    this.#now += move.seconds;
    const { item } = this;
    switch (move.does) {
      case 'goOn':
        return this.#goOn();
      case 'ask':
        if (allowedOperations(item)[move.asked].allowed) this.request(move.asked);
        return;
      case 'retry':
        if (allowedOperations(item).retry.allowed) this.#retry();
        return;
      case 'start':
        // An unplanned failover does not wait for what runs.
        if (item.job && item.pending[0]?.kind === 'unplannedFailover') this.end('cancelled', move.code);
        if (!this.item.job && this.item.pending[0])
          this.#on({ type: 'jobStarted', jobId: this.item.pending[0].jobId, at: this.now });
        return;
      case 'progress':
        if (item.job)
          this.#on({ type: 'jobProgressed', jobId: item.job.jobId, at: this.now, retry: this.#retryOf(move) });
        return;
      case 'end':
        if (item.job) this.end(move.outcome, move.code);
        return;
      case 'drill':
        return this.#drill(move);
      case 'cycle':
        if (this.#cycles()) this.#cycle();
        return;
      case 'fail':
        if (!this.#cycles()) return;
        if (move.code === 'ResyncRequired') {
          this.#on({ type: 'resyncRequired', cause: 'full', at: this.now });
        } else this.#on({ type: 'stepFailed', retry: this.#retryOf(move) });
    }
  }

  request(kind: JobKind): void {
    const jobId = `job-${(this.#jobs += 1)}`;
    this.#on({ type: 'jobRequested', request: { requestId: `request-${this.#jobs}`, kind, jobId } });
  }

  end(wanted: (typeof outcomes)[number], code: FailureCode): void {
    const { jobId, kind } = this.item.job!;
    // What it took over from has made the replica VM meanwhile.
    const isLate = kind === 'unplannedFailover' && this.item.phase === 'FailedOver';
    const outcome = isLate && wanted === 'succeeded' ? 'failed' : wanted;
    const failure = outcome === 'failed' ? { failure: toFailure(code, 'simulated') } : {};
    const result: JobOutcome = outcome === 'succeeded' ? this.#success(kind) : { outcome, ...failure };
    this.#on({ type: 'jobEnded', jobId, at: this.now, result });
    const followUp = outcome === 'succeeded' ? followUpOf(kind, this.item.phase) : undefined;
    if (followUp) this.request(followUp);
  }

  /** What is to be hoped for. */
  #goOn(): void {
    const { job, pending } = this.item;
    if (job) return this.end('succeeded', 'StoreFull');
    if (pending[0]) return this.#on({ type: 'jobStarted', jobId: pending[0].jobId, at: this.now });
    const allowed = allowedOperations(this.item);
    const kind = (['enableProtection', 'plannedFailover', 'commitFailover'] as const).find(
      (one) => allowed[one].allowed,
    );
    if (kind) this.request(kind);
    else if (allowed.retry.allowed) this.#retry();
  }

  #success(kind: JobKind): JobOutcome {
    const { epoch, nextSequence: sequence } = this.item;
    const cycle = { sequence, sealedAt: this.now, bytes: 1 };
    if (kind === 'enableProtection') return { outcome: 'succeeded', epoch: epoch + 1 };
    if (kind === 'initialReplication') return { outcome: 'succeeded', cycle };
    if (kind === 'plannedFailover') return { outcome: 'succeeded', cycle, epoch: epoch + 1 };
    if (kind === 'cancelFailover')
      return { outcome: 'succeeded', epoch: epoch + 1, ...(this.#jobs % 2 === 0 && { resyncCause: 'it has run' }) };
    if (kind === 'unplannedFailover' || kind === 'changeRecoveryPoint')
      return { outcome: 'succeeded', epoch: epoch + 1, recoveryPoint: { id: 'a', time: this.now } };
    return { outcome: 'succeeded' };
  }

  /** The next thing to happen to a test failover, beside everything else. */
  #drill({ outcome, code }: Move): void {
    const { drill } = this.item;
    if (drill?.requested) return this.#on({ type: 'jobStarted', jobId: drill.requested.jobId, at: this.now });
    if (drill?.job) {
      const { kind, jobId } = drill.job;
      const isTested = kind === 'testFailover' && outcome !== 'cancelled';
      const result: JobOutcome = {
        outcome,
        ...(outcome === 'failed' && { failure: toFailure(code, 'simulated') }),
        ...(isTested && { tested: { testVm: drill.testVm, network: drill.testVm, booted: true, passed: true } }),
      };
      return this.#on({ type: 'jobEnded', jobId, at: this.now, result });
    }
    const allowed = allowedOperations(this.item);
    const kind = (['testFailover', 'cleanupTestFailover'] as const).find((one) => allowed[one].allowed);
    if (kind) this.request(kind);
  }

  #cycles(): boolean {
    const { phase, job, pending, resync } = this.item;
    return phase === 'Protected' && !job && pending.length === 0 && !resync;
  }

  #cycle(): void {
    this.#on({ type: 'cycleRequested', at: this.now });
    const cycle = { sequence: this.item.nextSequence, sealedAt: this.now, bytes: 1 };
    this.#on({ type: 'cycleShipped', cycle });
    this.#on({ type: 'cycleApplied', cycle, at: this.now });
  }

  #retry(): void {
    const { job, retry, recentJobs } = this.item;
    if (job) return this.#on({ type: 'jobProgressed', jobId: job.jobId, at: this.now });
    if (retry) return this.#on({ type: 'stepRecovered' });
    this.request(recentJobs.at(-1)?.kind === 'finalizeProtection' ? 'finalizeProtection' : 'initialReplication');
  }

  #retryOf({ code }: Move) {
    return { failure: toFailure(code, 'simulated'), attempt: 1, since: this.now };
  }

  #on(event: ItemEvent): void {
    const before = this.item;
    this.item = next(before, event);
    this.onEvent(before, event, this.item);
  }
}
