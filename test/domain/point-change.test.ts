import { describe, expect, it, test } from 'vitest';
import { allowedOperations } from '../../domain/operations.js';
import { differenceText } from '../../domain/point-change.js';
import { phases } from '../../domain/protected-item.js';
import { writesText } from '../../domain/replica-vm.js';
import { next } from '../../domain/transitions.js';
import { at, newItem } from './random-life.js';

const failedOver = () => ({
  ...newItem(),
  ...{ phase: 'FailedOver' as const, activeSide: 'recovery' as const, epoch: 2 },
  latestRecoveryPoint: { id: 'before', time: at(0) },
});

describe('changing the recovery point', () => {
  it('is allowed only between a failover and its commit', () => {
    const allowed = phases.filter((phase) => allowedOperations({ ...newItem(), phase }).changeRecoveryPoint.allowed);
    expect(allowed).toEqual(['FailedOver']);
    expect(allowedOperations({ ...newItem(), phase: 'Committed' }).changeRecoveryPoint).toEqual({
      allowed: false,
      reason:
        'the recovery point can be changed only between a failover and its commit; this VM is failed over and committed',
    });
  });

  it('waits for the job that is running', () => {
    const request = { requestId: 'r', jobId: 'job-1', kind: 'commitFailover' as const };
    const busy = next(failedOver(), { type: 'jobRequested', request });
    expect(allowedOperations(busy).changeRecoveryPoint).toMatchObject({
      allowed: false,
      reason: expect.stringContaining('the job "Commit" is running (job-1)'),
    });
  });

  const running = (parameters = {}) => {
    const request = { requestId: 'r', jobId: 'job-1', kind: 'changeRecoveryPoint' as const, parameters };
    const asked = next(failedOver(), { type: 'jobRequested', request });
    return next(asked, { type: 'jobStarted', jobId: 'job-1', at: at(10) });
  };

  it('gives the VM its new epoch and point, and lets it be committed', () => {
    const ended = next(running(), {
      type: 'jobEnded',
      jobId: 'job-1',
      at: at(20),
      result: { outcome: 'succeeded', epoch: 3, recoveryPoint: { id: 'after', time: at(5) } },
    });
    expect(ended).toMatchObject({
      ...{ phase: 'FailedOver', activeSide: 'recovery', epoch: 3, latestRecoveryPoint: { id: 'after' } },
    });
    expect(allowedOperations(ended).commitFailover.allowed).toBe(true);
  });

  it('that is closed from outside leaves the replica VM to be started, which a later change settles', () => {
    const failure = { code: 'Unexpected', class: 'nonRecoverable', message: 'm', remedy: 'r' } as const;
    const closed = next(running(), {
      type: 'jobEnded',
      jobId: 'job-1',
      at: at(20),
      result: { outcome: 'failed', failure, closedFromOutside: true },
    });
    expect(closed.leftovers).toMatchObject([{ what: 'startReplica', kind: 'changeRecoveryPoint' }]);
    const request = { requestId: 's', jobId: 'job-2', kind: 'changeRecoveryPoint' as const };
    const again = next(next(closed, { type: 'jobRequested', request }), {
      type: 'jobStarted',
      jobId: 'job-2',
      at: at(30),
    });
    const ended = next(again, { type: 'jobEnded', jobId: 'job-2', at: at(40), result: { outcome: 'succeeded' } });
    expect(ended.leftovers).toBeUndefined();
  });
});

test('what the choice of a point loses or gains is told in time', () => {
  const point = (id: string, seconds: number) => ({ id, time: at(seconds) });
  expect(differenceText({ from: point('b', 300), to: point('a', 0) })).toBe(
    'The new point is 5 min older: data that the source wrote in that time is no longer there.',
  );
  expect(differenceText({ from: point('a', 0), to: point('b', 90) })).toBe(
    'The new point is 1 min 30 s newer: data that the source wrote in that time is there again.',
  );
  expect(differenceText({ from: point('a', 0), to: point('a', 0) })).toContain('it starts again from there');
});

test('what is discarded is told by disk', () => {
  const written = [
    { name: 'os', bytes: 65_536, ranges: 2 },
    { name: 'data', bytes: 0, ranges: 0 },
  ];
  expect(writesText({ written })).toBe(
    'at most 64.0 KiB written by its replica VM (os 64.0 KiB in 2 ranges, data nothing)',
  );
  expect(writesText({ written: [{ ...written[1]!, name: 'os' }] })).toBe(
    'nothing: its replica VM has not written to any disk',
  );
  expect(writesText({ power: 'NotThere', written: [] })).toBe('nothing: there is no replica VM');
  expect(writesText({ written: [], problem: 'it is gone' })).toContain('how much is unknown: it is gone');
});
