import { describe, expect, it } from 'vitest';
import { allowedOperations, offeredOperations } from '../../domain/operations.js';
import { shouldRunAsReplica } from '../../domain/attention.js';
import { viewOf } from '../../domain/item-view.js';
import { nextStep } from '../../domain/next-step.js';
import { followUpOf } from '../../domain/jobs/known-jobs.js';
import { isResyncDue, phases, type ProtectedItem } from '../../domain/protected-item.js';
import { next } from '../../domain/transitions.js';
import { toFailure } from '../../domain/errors.js';
import { at, newItem } from './random-life.js';

const failedOver = (): ProtectedItem => ({
  ...newItem(),
  ...{ phase: 'FailedOver', activeSide: 'recovery', epoch: 2, latestRecoveryPoint: { id: 'before', time: at(0) } },
  protectedSince: at(0),
});

function cancelled(item: ProtectedItem, result = {}): ProtectedItem {
  const request = { requestId: 'r', jobId: 'job-1', kind: 'cancelFailover' as const };
  const asked = next(item, { type: 'jobRequested', request });
  const started = next(asked, { type: 'jobStarted', jobId: 'job-1', at: at(10) });
  return next(started, {
    ...{ type: 'jobEnded', jobId: 'job-1', at: at(20) },
    result: { outcome: 'succeeded', epoch: 3, resyncCause: 'it has run', ...result },
  });
}

describe('cancelling a failover', () => {
  it('is allowed only between a failover and its commit', () => {
    const allowed = phases.filter((phase) => allowedOperations({ ...newItem(), phase }).cancelFailover.allowed);
    expect(allowed).toEqual(['FailedOver']);
  });

  it('is not offered while the source has to be fenced, and says why the last attempt failed', () => {
    const item = {
      ...failedOver(),
      sourceFence: { epoch: 2, since: at(0), problem: { message: 'no route', at: at(5) } },
    };
    expect(allowedOperations(item).cancelFailover).toMatchObject({
      allowed: false,
      reason: expect.stringMatching(/\(the last attempt failed: no route\).* within a minute/),
    });
  });

  it('of a protected VM on a silent host is refused because there is no failover', () => {
    const failure = toFailure('AgentNotAnswering', 'm');
    const silent: ProtectedItem = { ...newItem(), phase: 'Protected', hostTrouble: { failure, since: at(0) } };
    expect(offeredOperations(silent).cancelFailover).toMatchObject({
      reason: expect.stringContaining('there is no failover'),
    });
    expect(offeredOperations(silent).plannedFailover).toMatchObject({
      reason: expect.stringContaining('is not answering'),
    });
  });

  it('lets only an unplanned failover follow while the VM runs nowhere, because its source is not started yet', () => {
    const request = { requestId: 'r', jobId: 'job-1', kind: 'cancelFailover' as const };
    const asked = next(failedOver(), { type: 'jobRequested', request });
    const started = next(asked, { type: 'jobStarted', jobId: 'job-1', at: at(10) });
    const inTask = (task: string) => next(started, { type: 'jobProgressed', jobId: 'job-1', at: at(11), task });
    const allowed = (item: ProtectedItem) =>
      Object.entries(allowedOperations(item)).flatMap(([operation, permission]) =>
        permission.allowed && !['setPolicy', 'retry'].includes(operation) ? operation : [],
      );
    expect(allowed(inTask('Shut down the replica virtual machine'))).toEqual([]);
    expect(allowed(inTask('Start the virtual machine'))).toEqual(['unplannedFailover']);
    const failure = { code: 'Unexpected', class: 'nonRecoverable', message: 'm', remedy: 'r' } as const;
    const closed = next(started, {
      ...{ type: 'jobEnded', jobId: 'job-1', at: at(20) },
      result: { outcome: 'failed', failure, closedFromOutside: true },
    });
    // What the vault says by now is unknown here, so nothing starts the VM at either site but what finishes this.
    const seen = { replicaVm: 'Off', source: 'Running' } as const;
    expect(nextStep('db-01', viewOf(closed, at(30)), at(30), seen).command).toBe(
      'farshore cancel-failover db-01 --wait',
    );
    expect(shouldRunAsReplica(closed, undefined)).toBe(false);
    expect(allowed(closed)).toEqual(['unplannedFailover', 'changeRecoveryPoint', 'cancelFailover', 'commitFailover']);
  });

  it('protects the VM at the primary site again, and resynchronizes it at once, whatever its window', () => {
    const home = cancelled({ ...failedOver(), sourceRan: { until: at(3) } });
    expect(home).toMatchObject({
      ...{ phase: 'Protected', activeSide: 'primary', epoch: 3 },
      resync: { cause: 'it has run', dueAt: at(20) },
    });
    expect(home.sourceRan).toBeUndefined();
    expect(isResyncDue(home, at(20))).toBe(true);
    const allowed = allowedOperations(home);
    expect([allowed.plannedFailover.allowed, allowed.unplannedFailover.allowed]).toEqual([false, true]);
  });

  it('of a VM whose initial replication was not finished resynchronizes it, which finishes it', () => {
    const { protectedSince: _, ...seeding } = failedOver();
    const home = cancelled(seeding, { resyncCause: undefined });
    expect(home).toMatchObject({ phase: 'Seeding', activeSide: 'primary', resync: { dueAt: at(20) } });
    expect(isResyncDue(home, at(20))).toBe(true);
    expect(followUpOf('cancelFailover', home.phase)).toBeUndefined();
    expect(followUpOf('resynchronize', home.phase)).toBe('finalizeProtection');
  });

  it('that proves the replica equal continues with a cycle', () => {
    const home = cancelled(failedOver(), { resyncCause: undefined });
    expect(home).toMatchObject({ phase: 'Protected', cycleDueAt: at(20) });
    expect(home.resync).toBeUndefined();
  });
});
