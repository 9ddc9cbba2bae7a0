import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { conditionsOf, healthOf } from '../../domain/health.js';
import type { RetryState } from '../../domain/job.js';
import { jobKinds } from '../../domain/jobs/known-jobs.js';
import { allowedOperations, operations, type Operation } from '../../domain/operations.js';
import { copyFrequencies, copyFrequencyMs, policySchema } from '../../domain/policy.js';
import { newProtectedItem, phases, type ProtectedItem } from '../../domain/protected-item.js';
import { toIso, toMs } from '../../domain/time.js';
import { next } from '../../domain/transitions.js';

const NOW = '2026-03-01T12:00:00.000Z';
const minutes = (count: number) => toIso(toMs(NOW) + count * 60_000);
const policy = (copyFrequency: string) => policySchema.parse({ name: 'gold', copyFrequency });

const item = (change: Partial<ProtectedItem> = {}): ProtectedItem => ({
  ...newProtectedItem({ vault: 'v', vm: 'db-01', host: 'h1', vmmServer: 'vmm', policy: policy('5m') }),
  phase: 'Protected',
  epoch: 1,
  cycleDueAt: minutes(5),
  ...change,
});
const allowed = (of: ProtectedItem): Operation[] => operations.filter((name) => allowedOperations(of)[name].allowed);

function failing(): RetryState {
  return {
    failure: { code: 'DiskMissing', class: 'nonRecoverable', message: 'm', remedy: 'r' },
    attempt: 1,
    since: NOW,
  };
}

describe('a pause', () => {
  test('says since when, and shows as a Warning', () => {
    const paused = next(item(), { type: 'paused', at: NOW });
    expect(conditionsOf(paused, minutes(1))).toMatchObject([
      { reason: 'Paused', health: 'Warning', since: NOW, remedy: 'farshore resume db-01' },
    ]);
    // Asked for again: it goes on as it began.
    expect(next(paused, { type: 'paused', at: minutes(3) }).paused).toEqual({ since: NOW });
  });

  test('leaves nothing behind when it has ended, and makes a cycle due', () => {
    const before = item();
    const after = next(next(before, { type: 'paused', at: NOW }), { type: 'resumed', at: minutes(60) });
    expect(after).toEqual({ ...before, cycleDueAt: minutes(60) });
    expect(healthOf(after, minutes(60))).toBe('Normal');
    expect(next(before, { type: 'resumed', at: NOW })).toBe(before);
  });

  test('allows a planned failover and a change of policy, but no synchronization', () => {
    expect(allowed(item())).toEqual(expect.arrayContaining(['sync', 'pause', 'setPolicy', 'plannedFailover']));
    const paused = allowed(item({ paused: { since: NOW } }));
    expect(paused).toEqual(expect.arrayContaining(['resume', 'setPolicy', 'plannedFailover']));
    for (const refused of ['sync', 'pause']) expect(paused).not.toContain(refused);
  });

  test('a failure during a pause is not announced as being retried', () => {
    const failure = { code: 'StoreUnreachable', class: 'recoverable', message: 'm', remedy: 'r' } as const;
    const retry = { failure, attempt: 1, since: NOW, nextTryAt: minutes(1) };
    const paused = next(item({ retry }), { type: 'paused', at: NOW });
    expect(paused.retry).toBeUndefined();
    expect(next(paused, { type: 'stepFailed', retry }).retry).toBeUndefined();
  });

  test.each([
    ['what fails when it begins', item({ retry: failing() }), undefined],
    ['what was under way when it began, and fails', item(), failing()],
  ])('keeps as a condition %s, until a cycle has been sent', (_what, before, later) => {
    let now = next(before, { type: 'paused', at: minutes(1) });
    if (later) now = next(now, { type: 'stepFailed', retry: later });
    expect(conditionsOf(now, minutes(2))).toMatchObject([
      {
        reason: 'DiskMissing',
        health: 'Critical',
        message: 'm; replication has been paused since then, so there is no retry before `resume`',
        since: NOW,
      },
      { reason: 'Paused' },
    ]);
    expect(now.retry).toBeUndefined();
    const resumed = next(now, { type: 'resumed', at: minutes(3) });
    expect(conditionsOf(resumed, minutes(3))).toMatchObject([{ reason: 'DiskMissing', health: 'Critical' }]);
    const cycle = { sequence: resumed.nextSequence, sealedAt: minutes(3), bytes: 1 };
    const done = next(resumed, { type: 'cycleApplied', cycle, at: minutes(4) });
    expect(conditionsOf(done, minutes(4))).toEqual([]);
  });
});

describe('a change of policy', () => {
  const dueAfter = (from: string, to: string, at: string, dueAt: string) =>
    next(item({ policy: policy(from), cycleDueAt: dueAt }), { type: 'policyChanged', policy: policy(to), at })
      .cycleDueAt;

  test('to a shorter frequency moves the next cycle up, counted from the newest', () => {
    expect(dueAfter('15m', '5m', minutes(2), minutes(15))).toBe(minutes(5));
    expect(dueAfter('15m', '5m', minutes(12), minutes(15))).toBe(minutes(12));
  });

  test('to a longer frequency applies from the next cycle on', () => {
    expect(dueAfter('5m', '15m', minutes(2), minutes(5))).toBe(minutes(5));
  });

  test('never delays a cycle, and never makes one look missed', () => {
    fc.assert(
      fc.property(
        fc.constantFrom(...copyFrequencies),
        fc.constantFrom(...copyFrequencies),
        fc.integer({ min: -3_600_000, max: 900_000 }),
        (from, to, untilDue) => {
          const dueAt = toIso(toMs(NOW) + untilDue);
          const due = toMs(dueAfter(from, to, NOW, dueAt)!);
          expect(due).toBeLessThanOrEqual(toMs(dueAt));
          // One that is late already stays as late as it was.
          expect(due).toBeGreaterThanOrEqual(Math.min(toMs(dueAt), toMs(NOW)));
        },
      ),
    );
  });

  test('applies to the cycles after it', () => {
    const changed = next(item(), { type: 'policyChanged', policy: policy('15m'), at: NOW });
    const cycle = { sequence: 1, sealedAt: minutes(5), bytes: 1 };
    const after = next(changed, { type: 'cycleApplied', cycle, at: minutes(5) });
    expect(toMs(after.cycleDueAt!) - toMs(minutes(5))).toBe(copyFrequencyMs(policy('15m')));
  });
});

describe('the allowed operations', () => {
  const job = { requestId: 'r', jobId: 'j', kind: 'plannedFailover', startedAt: NOW, heardAt: NOW } as const;
  const anyItem = fc.record({
    phase: fc.constantFrom(...phases),
    paused: fc.option(fc.constant({ since: NOW }), { nil: undefined }),
    resync: fc.option(fc.constant({ cause: 'c', since: NOW }), { nil: undefined }),
    kind: fc.option(fc.constantFrom(...jobKinds), { nil: undefined }),
  });
  const made = (parts: typeof anyItem extends fc.Arbitrary<infer T> ? T : never) =>
    item({
      phase: parts.phase,
      ...(parts.paused && { paused: parts.paused }),
      ...(parts.resync && { resync: parts.resync }),
      ...(parts.kind && { job: { ...job, kind: parts.kind } }),
    });

  test('every refusal has a reason', () => {
    fc.assert(
      fc.property(anyItem, (parts) => {
        for (const permission of Object.values(allowedOperations(made(parts)))) {
          if (!permission.allowed) expect(permission.reason).not.toBe('');
        }
      }),
    );
  });

  test('one job at a time; pause and resume are never both allowed; an unprotected VM allows no change', () => {
    fc.assert(
      fc.property(anyItem, (parts) => {
        const of = made(parts);
        const names = allowed(of);
        // The last one is for a failback that waits.
        const during = ['retry', 'resume', 'setPolicy', 'completeFailback'];
        if (of.job) expect(names.filter((name) => !during.includes(name))).toEqual([]);
        expect(names.includes('pause') && names.includes('resume')).toBe(false);
        if (of.phase === 'Unprotected') {
          for (const name of ['sync', 'pause', 'setPolicy', 'plannedFailover'] as const) {
            expect(names).not.toContain(name);
          }
        }
      }),
    );
  });
});
