import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { allowedOperations, operations } from '../../domain/operations.js';
import { waitsForPerson } from '../../domain/job.js';
import { followUpOf } from '../../domain/jobs/known-jobs.js';
import { next, type ItemEvent } from '../../domain/transitions.js';
import { phases, protectedItemSchema, type Phase, type ProtectedItem } from '../../domain/protected-item.js';
import { toMs } from '../../domain/time.js';
import { anyEvent, at, Life, move, newItem, type Move } from './random-life.js';

function deepFreeze<T>(value: T): T {
  if (typeof value === 'object' && value !== null) {
    Object.freeze(value);
    for (const inner of Object.values(value)) deepFreeze(inner);
  }
  return value;
}

/** What no event whatever may do. */
function expectSound(before: ProtectedItem, event: ItemEvent, after: ProtectedItem): void {
  expect(protectedItemSchema.parse(after)).toEqual(after);
  expect(after.epoch).toBeGreaterThanOrEqual(before.epoch);
  if (after.epoch === before.epoch) expect(after.nextSequence).toBeGreaterThanOrEqual(before.nextSequence);
  const endsTheJob = event.type === 'jobEnded' && event.jobId === before.job?.jobId;
  if (after.phase !== before.phase) expect(endsTheJob && event.result.outcome === 'succeeded').toBe(true);
  if (before.job && !endsTheJob) expect(after.job).toMatchObject({ jobId: before.job.jobId, kind: before.job.kind });
  if (!before.job && after.job) expect(event.type).toBe('jobStarted');
  expect(after.answered.length).toBeLessThanOrEqual(50);
  expect(after.recentJobs.length).toBeLessThanOrEqual(10);
  expect(after.cycleHistory.length).toBeLessThanOrEqual(20);
}

/** What a life that the workflow leads never gets into. */
function expectPossible(item: ProtectedItem): void {
  const { phase, job, pending, cycleDueAt, resync, activeSide, protectedSince } = item;
  // One at a time; besides, an unplanned failover takes over, and what waited goes on if that fails.
  const takesOver = (one: typeof job | (typeof pending)[number]) => one?.kind === 'unplannedFailover';
  const jobs = job ? [job, ...pending] : pending;
  expect(jobs.filter(takesOver).length).toBeLessThanOrEqual(1);
  expect(jobs.filter((one) => !takesOver(one)).length).toBeLessThanOrEqual(1);
  expect(activeSide).toBe(phase === 'FailedOver' || phase === 'Committed' ? 'recovery' : 'primary');
  if (cycleDueAt !== undefined) expect(phase === 'Protected' && !resync).toBe(true);
  if (phase === 'Protected' && !resync) expect(cycleDueAt).toBeDefined();
  if (phase !== 'Unprotected') expect(item.epoch).toBeGreaterThan(0);
  if (phase === 'Protected') expect(protectedSince).toBeDefined();
  if (phase === 'Unprotected' || phase === 'Seeding') expect(protectedSince).toBeUndefined();
  if (item.applied) expect(item.nextSequence).toBe(item.applied.sequence + 1);
  const { drill } = item;
  // It stands, and is cleaned up at a certain time, or a job of it is there.
  if (drill) expect([drill.requested, drill.job, drill.cleanUpAt].some((each) => each !== undefined)).toBe(true);
  expect(drill?.requested && drill.job).toBeUndefined();
  // Protection never ends before it is cleaned up.
  if (drill) expect(['Protected', 'FailedOver', 'Committed']).toContain(phase);
}

const follows: Record<Phase, readonly Phase[]> = {
  Unprotected: ['Seeding'],
  Seeding: ['Protected', 'FailedOver'],
  Protected: ['FailedOver'],
  FailedOver: ['Committed', 'Protected', 'Seeding'],
  Committed: [],
  FailedBack: [],
};

function live(moves: readonly Move[], look: (life: Life) => void = () => undefined): Life {
  const life = new Life((before, event, after) => {
    deepFreeze(before);
    expectSound(before, event, after);
    // The follow-up of a job is asked for in the same instant.
    if (after.phase !== before.phase) expect(follows[before.phase]).toContain(after.phase);
  });
  for (const one of moves) {
    life.make(one);
    expectPossible(life.item);
    look(life);
  }
  return life;
}

describe('next', () => {
  it('stays valid after any event, and never modifies its input', () => {
    fc.assert(
      fc.property(fc.array(anyEvent, { maxLength: 120 }), (events) => {
        let item = deepFreeze(newItem());
        for (const event of events) {
          const after = deepFreeze(next(item, event));
          expectSound(item, event, after);
          item = after;
        }
      }),
      { numRuns: 300 },
    );
  });

  it('never reaches an impossible state, whatever the order of events', () => {
    const seen = new Set<Phase>();
    fc.assert(
      fc.property(fc.array(move, { maxLength: 80, size: 'max' }), (moves) => {
        live(moves, ({ item }) => seen.add(item.phase));
      }),
      { numRuns: 300 },
    );
    // Else the property would say little. Nothing fails back yet.
    expect([...seen].sort()).toEqual(phases.filter((phase) => phase !== 'FailedBack').toSorted());
  });

  it('keeps a mark set during finalizing, and makes no cycle due then', () => {
    const life = live([]);
    const go = (outcome: 'succeeded' | 'failed') => {
      life.make({ seconds: 1, does: 'start', asked: 'enableProtection', outcome, code: 'ResyncRequired' });
      life.end(outcome, 'ResyncRequired');
    };
    life.request('enableProtection');
    for (const outcome of ['succeeded', 'succeeded', 'failed'] as const) go(outcome);
    life.request('finalizeProtection');
    go('succeeded');
    expect(life.item).toMatchObject({ phase: 'Protected', resync: { cause: 'simulated' } });
    expectPossible(life.item);
  });

  it('accepts reports of the running job only', () => {
    const life = live([]);
    life.request('enableProtection');
    for (const event of [
      { type: 'jobProgressed', jobId: 'job-1', at: at(1), task: 'x' },
      { type: 'jobEnded', jobId: 'job-1', at: at(1), result: { outcome: 'succeeded', epoch: 1 } },
      { type: 'jobStarted', jobId: 'job-2', at: at(1) },
      { type: 'stepRecovered' },
    ] as const) {
      expect(next(life.item, event)).toBe(life.item);
    }
    const running = next(life.item, { type: 'jobStarted', jobId: 'job-1', at: at(1) });
    expect(running.job).toMatchObject({ jobId: 'job-1', startedAt: at(1), heardAt: at(1) });
    expect(running.pending).toEqual([]);
    expect(next(running, { type: 'jobEnded', jobId: 'job-0', at: at(2), result: { outcome: 'failed' } })).toBe(running);
  });

  it('remembers the newest requests and jobs', () => {
    let item = newItem();
    for (let serial = 1; serial <= 60; serial += 1) {
      const jobId = `job-${serial}`;
      item = next(item, {
        type: 'jobRequested',
        request: { requestId: `r-${serial}`, jobId, kind: 'enableProtection' },
      });
      item = next(item, { type: 'jobStarted', jobId, at: at(serial) });
      item = next(item, { type: 'jobEnded', jobId, at: at(serial), result: { outcome: 'cancelled' } });
    }
    expect(item.answered.map(({ requestId }) => requestId)).toEqual(
      Array.from({ length: 50 }, (_, index) => `r-${index + 11}`),
    );
    expect(item.recentJobs.map(({ id }) => id)).toEqual(Array.from({ length: 10 }, (_, index) => `job-${index + 51}`));
  });
});

describe('cycles', () => {
  const protectedItem: ProtectedItem = { ...newItem(), phase: 'Protected', epoch: 1, cycleDueAt: at(0) };
  const applied = (item: ProtectedItem, seconds: number) =>
    next(item, {
      type: 'cycleApplied',
      cycle: { sequence: item.nextSequence, sealedAt: at(seconds), bytes: 0 },
      at: at(seconds),
    });

  it('stay on their grid, and those that were skipped count as missed', () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 0, max: 9_000 }), { maxLength: 40 }), (waits) => {
        let item = protectedItem;
        let now = 0;
        let ticks = 0;
        for (const wait of waits) {
          now = Math.max(now, (toMs(item.cycleDueAt!) - toMs(at(0))) / 1000) + wait;
          item = applied(item, now);
          const due = (toMs(item.cycleDueAt!) - toMs(at(0))) / 1000;
          expect(due % 300).toBe(0);
          expect(due).toBeGreaterThan(now);
          expect(due).toBeLessThanOrEqual(now + 300);
          ticks = due / 300;
        }
        // Every tick is in the history once, as long as it is remembered.
        expect(item.cycleHistory.length).toBe(Math.min(20, ticks));
        expect(item.cycleHistory.filter(Boolean).length).toBeLessThanOrEqual(waits.length);
        if (waits.length > 0) expect(item.cycleHistory.at(-1)).toBe(true);
      }),
    );
  });

  it('a failed cycle that was made up for is no longer a failure', () => {
    const failed = next(protectedItem, {
      type: 'stepFailed',
      retry: {
        failure: { code: 'StoreFull', class: 'recoverable', message: 'm', remedy: 'r' },
        attempt: 1,
        since: at(0),
        nextTryAt: at(60),
      },
    });
    expect(failed.retry).toBeDefined();
    expect(applied(failed, 60).retry).toBeUndefined();
  });

  it('a cycle that waited for an operator no longer waits once a retry is requested', () => {
    const failure = { code: 'InvalidReplicaState', class: 'nonRecoverable', message: 'm', remedy: 'r' } as const;
    const failed = next(protectedItem, { type: 'stepFailed', retry: { failure, attempt: 1, since: at(0) } });
    expect(waitsForPerson(failed)).toBe(true);
    expect(waitsForPerson(next(failed, { type: 'retryRequested', at: at(60) }))).toBe(false);
    expect(next(protectedItem, { type: 'retryRequested', at: at(60) })).toBe(protectedItem);
  });
});

describe('allowedOperations', () => {
  it('refuses every job while one is running, and names it', () => {
    fc.assert(
      fc.property(fc.array(move, { maxLength: 60, size: 'max' }), (moves) => {
        live(moves, ({ item }) => {
          const busyWith = item.job ?? item.pending[0];
          if (!busyWith) return;
          const allowed = allowedOperations(item);
          for (const operation of operations) {
            // No jobs: they mend what is there, or say how to go on after it.
            if (['retry', 'resume', 'setPolicy'].includes(operation)) continue;
            // They run beside other jobs.
            if (['testFailover', 'cleanupTestFailover'].includes(operation)) continue;
            // It takes over from whatever runs, but from another one of its kind.
            const same = [item.job, ...item.pending].some((job) => job?.kind === 'unplannedFailover');
            if (operation === 'unplannedFailover' && !same) continue;
            expect(allowed[operation].allowed, operation).toBe(false);
          }
          expect(
            Object.values(allowed).filter(
              (permission) => 'reason' in permission && permission.reason.includes(busyWith.jobId),
            ),
          ).not.toEqual([]);
        });
      }),
    );
  });

  it('every allowed operation leads to its announced state, and every state has a way out', () => {
    fc.assert(
      fc.property(fc.array(move, { maxLength: 60, size: 'max' }), (moves) => {
        const { item } = live(moves);
        const allowed = allowedOperations(item);
        for (const [operation, phase] of [
          ['enableProtection', 'Seeding'],
          ['plannedFailover', 'FailedOver'],
          ['unplannedFailover', 'FailedOver'],
          ['changeRecoveryPoint', 'FailedOver'],
          ['cancelFailover', item.protectedSince === undefined ? 'Seeding' : 'Protected'],
          ['commitFailover', 'Committed'],
        ] as const) {
          if (!allowed[operation].allowed) continue;
          const life = live(moves);
          life.request(operation);
          life.make({ seconds: 1, does: 'start', asked: operation, outcome: 'succeeded', code: 'StoreFull' });
          life.end('succeeded', 'StoreFull');
          expect(life.item.phase).toBe(phase);
          expect(life.item.pending.map(({ kind }) => kind)).toEqual([followUpOf(operation, phase) ?? []].flat());
        }
        if (allowed.sync.allowed) expect(item).toMatchObject({ phase: 'Protected', cycleDueAt: expect.any(String) });
        const waits = item.retry ?? item.job?.retry;
        const idle = !item.job && item.pending.length === 0;
        expect(allowed.retry.allowed).toBe(waits !== undefined || (item.phase === 'Seeding' && idle && !item.resync));
        const isEnd = item.phase === 'Committed';
        if (idle && !isEnd) expect(Object.values(allowed).some((permission) => permission.allowed)).toBe(true);
        for (const permission of Object.values(allowed))
          if (!permission.allowed) expect(permission.reason).toBeTruthy();
      }),
      { numRuns: 300 },
    );
  });
});
