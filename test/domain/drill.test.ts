import { describe, expect, it } from 'vitest';
import { boardOf, runsAtText } from '../../domain/board.js';
import { boardText } from '../../domain/board-text.js';
import { drillText, lastDrillText, testNameProblem } from '../../domain/drill.js';
import { DEFAULT_DRILL_SECONDS } from '../../domain/drill-limits.js';
import { toFailure } from '../../domain/errors.js';
import { viewOf } from '../../domain/item-view.js';
import type { JobOutcome } from '../../domain/job-outcome.js';
import type { JobParameters } from '../../domain/job.js';
import type { JobKind } from '../../domain/jobs/known-jobs.js';
import { nextStep } from '../../domain/next-step.js';
import { allowedOperations } from '../../domain/operations.js';
import type { ProtectedItem } from '../../domain/protected-item.js';
import { next } from '../../domain/transitions.js';
import { at, newItem } from './random-life.js';

const point = { id: '0001-00000007', time: at(-60) };
const protectedItem: ProtectedItem = {
  ...newItem(),
  ...{ phase: 'Protected', epoch: 1, nextSequence: 8, cycleDueAt: at(300), latestRecoveryPoint: point },
};
const tested = {
  ...{ testVm: 'db-01-test', network: 'db-01-test', recoveryPoint: point, booted: true, passed: true },
};

const requested = (item: ProtectedItem, kind: JobKind, jobId: string, parameters?: JobParameters) =>
  next(item, { type: 'jobRequested', request: { requestId: jobId, jobId, kind, ...(parameters && { parameters }) } });
const begun = (item: ProtectedItem, kind: JobKind, jobId: string, parameters?: JobParameters) =>
  next(requested(item, kind, jobId, parameters), { type: 'jobStarted', jobId, at: at(0) });
const ended = (item: ProtectedItem, jobId: string, result: JobOutcome, seconds = 10) =>
  next(item, { type: 'jobEnded', jobId, at: at(seconds), result });
const standing = (of = protectedItem, parameters?: JobParameters, found: JobOutcome['tested'] = tested) =>
  ended(begun(of, 'testFailover', 'job-1', parameters), 'job-1', { outcome: 'succeeded', tested: found });
const reasonOf = (item: ProtectedItem, operation: keyof ReturnType<typeof allowedOperations>): string => {
  const permission = allowedOperations(item)[operation];
  return permission.allowed ? 'allowed' : permission.reason;
};

describe('a test failover', () => {
  it('runs beside a job, and neither disturbs the other', () => {
    const busy = begun(protectedItem, 'verifyReplica', 'job-v');
    const both = begun(busy, 'testFailover', 'job-1');
    expect(both).toMatchObject({ job: { jobId: 'job-v' }, drill: { job: { jobId: 'job-1' }, since: at(0) } });
    const told = next(both, { type: 'jobProgressed', jobId: 'job-1', at: at(5), task: 'Starting test failover' });
    expect(told.drill!.job).toMatchObject({ task: 'Starting test failover', heardAt: at(5) });
    expect(told.job).toEqual(both.job);
    const tests = ended(told, 'job-1', { outcome: 'succeeded', tested });
    expect(tests.job).toEqual(both.job);
    const verified = ended(tests, 'job-v', { outcome: 'succeeded' });
    expect(verified.job).toBeUndefined();
    expect(verified.drill).toEqual(tests.drill);
    expect(verified.recentJobs.map(({ id }) => id)).toEqual(['job-1', 'job-v']);
  });

  it('is cleaned up automatically after its time, or after a day', () => {
    expect(standing().drill).toEqual({
      testVm: 'db-01-test',
      since: at(0),
      tested,
      cleanUpAt: at(10 + DEFAULT_DRILL_SECONDS),
    });
    expect(standing(protectedItem, { cleanUpAfterSeconds: 600, reason: 'why' }).drill).toMatchObject({
      cleanUpAt: at(610),
      reason: 'why',
    });
  });

  it('changes neither cycles nor health', () => {
    const item = standing();
    const { drill: _d, recentJobs: _r, answered: _a, ...rest } = item;
    const { recentJobs: _r2, answered: _a2, ...before } = protectedItem;
    expect(rest).toEqual(before);
  });

  it('counts as passed only once it has booted, was checked, and is cleaned up', () => {
    const cleanedUp = (item: ProtectedItem, parameters?: JobParameters) =>
      ended(begun(item, 'cleanupTestFailover', 'job-2', parameters), 'job-2', { outcome: 'succeeded' }, 50);
    const passed = cleanedUp(standing(), { notes: 'fine' });
    expect(passed.drill).toBeUndefined();
    expect(passed.lastDrill).toEqual({ at: at(0), recoveryPoint: point, outcome: 'passed', notes: 'fine' });
    const unbooted = { ...tested, booted: false, passed: false, problem: 'not booted, served over NBD' };
    expect(cleanedUp(standing(protectedItem, undefined, unbooted)).lastDrill).toMatchObject({
      outcome: 'notPassed',
      reason: 'not booted, served over NBD',
    });
    const unchecked = { testVm: 'db-01-test', network: 'db-01-test', booted: true };
    expect(cleanedUp(standing(protectedItem, undefined, unchecked)).lastDrill).toMatchObject({ outcome: 'notPassed' });
    expect(standing().lastDrill).toBeUndefined();
  });

  it('is cleaned up at once if it ended early and has made something', () => {
    const running = begun(protectedItem, 'testFailover', 'job-1');
    const failure = toFailure('StoreUnreachable', 'simulated');
    const early = ended(running, 'job-1', { outcome: 'failed', failure, tested: { ...tested, booted: false } });
    expect(early.drill).toMatchObject({ cleanUpAt: at(10), problem: failure.message });
    const unknown = ended(running, 'job-1', { outcome: 'failed', failure, closedFromOutside: true });
    expect(unknown.drill).toMatchObject({ cleanUpAt: at(10), problem: failure.message });
    const nothing = ended(running, 'job-1', { outcome: 'cancelled' });
    expect(nothing.drill).toBeUndefined();
    expect(nothing.lastDrill).toEqual({ at: at(0), outcome: 'notPassed', reason: 'it was cancelled' });
  });

  it('a clean-up that was cancelled does not begin again at once', () => {
    const cleaning = begun(standing(protectedItem, { cleanUpAfterSeconds: 600 }), 'cleanupTestFailover', 'job-2');
    expect(ended(cleaning, 'job-2', { outcome: 'cancelled' }, 620).drill!.cleanUpAt).toBe(at(620 + 3_600));
    const item = begun(standing(protectedItem, { cleanUpAfterSeconds: 86_400 }), 'cleanupTestFailover', 'job-2');
    expect(ended(item, 'job-2', { outcome: 'cancelled' }, 20).drill!.cleanUpAt).toBe(at(10 + 86_400));
  });
});

describe('is allowed', () => {
  it('while the VM is paused or verified, but not while it is failed over or marked', () => {
    expect(reasonOf(protectedItem, 'testFailover')).toBe('allowed');
    expect(reasonOf({ ...protectedItem, paused: { since: at(0) } }, 'testFailover')).toBe('allowed');
    expect(reasonOf(begun(protectedItem, 'verifyReplica', 'job-v'), 'testFailover')).toBe('allowed');
    expect(reasonOf(begun(protectedItem, 'plannedFailover', 'job-f'), 'testFailover')).toMatch(
      /Planned failover.*job-f/,
    );
    expect(reasonOf({ ...protectedItem, phase: 'FailedOver' }, 'testFailover')).toMatch(/only a protected VM/);
    expect(reasonOf({ ...protectedItem, resync: { cause: 'c', since: at(0) } }, 'testFailover')).toMatch(
      /farshore resynchronize db-01 --now --wait/,
    );
    const { latestRecoveryPoint: _, ...withoutPoint } = protectedItem;
    expect(reasonOf(withoutPoint, 'testFailover')).toMatch(/no recovery point.*farshore sync db-01 --wait/);
  });

  it('once at a time, and unprotecting waits for its clean-up', () => {
    const item = standing();
    for (const operation of ['testFailover', 'disableProtection'] as const)
      expect(reasonOf(item, operation)).toMatch(/first run: farshore cleanup-test-failover db-01 --wait/);
    for (const phase of ['Protected', 'FailedOver', 'Committed'] as const)
      expect(reasonOf({ ...item, phase }, 'cleanupTestFailover')).toBe('allowed');
    expect(reasonOf(item, 'plannedFailover')).toBe('allowed');
    expect(reasonOf(item, 'unplannedFailover')).toBe('allowed');
    expect(reasonOf(protectedItem, 'cleanupTestFailover')).toMatch(/no test failover/);
    expect(reasonOf(begun(protectedItem, 'testFailover', 'job-1'), 'cleanupTestFailover')).toMatch(
      /farshore job cancel job-1/,
    );
  });

  it('if the name of the test VM is not too long', () => {
    const vm = 'v'.repeat(59);
    expect(testNameProblem('v'.repeat(58))).toBeUndefined();
    expect(reasonOf({ ...protectedItem, vm }, 'testFailover')).toMatch(/at most 63 characters/);
  });
});

describe('one whose job waits for an operator', () => {
  const job = begun(protectedItem, 'testFailover', 'job-1');
  const waits = (nextTryAt?: string) => {
    const retry = {
      failure: toFailure('InvalidVmState', 'x'),
      attempt: 1,
      since: at(0),
      ...(nextTryAt && { nextTryAt }),
    };
    return next(job, { type: 'jobProgressed', jobId: 'job-1', at: at(5), retry });
  };
  const board = (item: ProtectedItem) =>
    boardOf({ vault: 'vault-1', items: new Map([['db-01', item]]), jobs: [], planRuns: [] }, at(20));

  it('needs attention, although the replication of the VM is healthy', () => {
    const { attention, vms, health } = board(waits());
    expect(attention).toMatchObject([
      { vms: ['db-01'], health: 'Warning', message: expect.stringMatching(/^db-01: the job "Test failover" waits/) },
    ]);
    expect(attention[0]!.advice.at(-1)).toBe('farshore retry db-01, or end it: farshore job cancel job-1');
    expect(vms).toMatchObject([{ health: 'Normal', testFailover: { testVm: 'db-01-test' } }]);
    expect(health).toBe('Warning');
    expect(board(waits(at(60))).attention).toEqual([]);
    expect(allowedOperations(waits()).retry.allowed).toBe(true);
  });

  it('is on the board of the vault while it stands', () => {
    expect(boardText(board(standing()))).toContain(
      `## Test failovers\n\n- db-01-test, of db-01, cleaned up automatically at ${at(10 + DEFAULT_DRILL_SECONDS)}`,
    );
    expect(runsAtText(board(standing()).vms[0]!)).toBe('primary, test VM');
  });
});

describe('it is shown', () => {
  const step = (item: ProtectedItem) => nextStep('db-01', viewOf(item, at(20)), at(20)).command;

  it('with the command that ends it', () => {
    const item = standing();
    expect(step(item)).toBe('farshore cleanup-test-failover db-01 --wait');
    expect(step(begun(protectedItem, 'testFailover', 'job-1'))).toBe('farshore job show job-1');
    expect(step({ ...item, phase: 'FailedOver', activeSide: 'recovery' })).toBe('farshore commit db-01 --wait');
    expect(step({ ...item, phase: 'Committed', activeSide: 'recovery' })).toBe(
      'farshore cleanup-test-failover db-01 --wait',
    );
    const retry = { failure: toFailure('InvalidVmState', 'x'), attempt: 1, since: at(0) };
    const waiting = next(begun(protectedItem, 'testFailover', 'job-1'), {
      ...{ type: 'jobProgressed', jobId: 'job-1', at: at(5), retry },
    });
    expect(step(waiting)).toBe('farshore retry db-01');
  });

  it('with its recovery point, whether it booted, and when it ends', () => {
    expect(drillText(standing().drill!)).toBe(
      `db-01-test, from recovery point ${point.id} of ${point.time}, since ${at(0)}; booted; cleaned up automatically at ${at(10 + DEFAULT_DRILL_SECONDS)}`,
    );
    expect(lastDrillText({ at: at(0), recoveryPoint: point, outcome: 'notPassed', reason: 'off', notes: 'x' })).toBe(
      `${at(0)}, recovery point ${point.id} of ${point.time}: not passed: off (x)`,
    );
  });
});
