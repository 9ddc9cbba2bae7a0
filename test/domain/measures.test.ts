import { describe, expect, it } from 'vitest';
import { toFailure } from '../../domain/errors.js';
import { vaultMeasures, type VaultState } from '../../domain/measures.js';
import type { ProtectedItem } from '../../domain/protected-item.js';
import { missedCycles } from '../../domain/transitions.js';
import { at, newItem, START_MS } from './random-life.js';

const item = (vm: string, changes: Partial<ProtectedItem> = {}): ProtectedItem => ({
  ...newItem(),
  vault: 'v',
  vm,
  host: 'h',
  phase: 'Protected',
  ...changes,
});
const labelsOf = (vm: string) => ({ vault: 'v', vm, host: 'h' });

/** Samples of one measure. */
const told = (state: Omit<VaultState, 'vault'>, name: string, seconds = 0) =>
  vaultMeasures({ vault: 'v', ...state }, at(seconds)).find((measure) => measure.name === name)!.samples;
const values = (state: Omit<VaultState, 'vault'>, name: string, seconds = 0) =>
  told(state, name, seconds).map(({ value }) => value);

const shipped = { sequence: 3, sealedAt: at(0), bytes: 7 };

describe('the RPO', () => {
  const items = [item('db', { shipped })];

  it('keeps rising while nothing happens, counted from a fixed instant', () => {
    expect([0, 60, 7_200].map((seconds) => values({ items }, 'farshore_rpo_seconds', seconds)[0])).toEqual([
      0, 60, 7_200,
    ]);
    for (const seconds of [0, 7_200]) {
      expect(told({ items }, 'farshore_last_cycle_sealed_timestamp_seconds', seconds)).toEqual([
        { labels: labelsOf('db'), value: START_MS / 1000 },
      ]);
    }
  });

  it('makes the health worse as time passes', () => {
    expect([3_600, 3_601].map((seconds) => values({ items }, 'farshore_replication_health', seconds)[0])).toEqual([
      0, 1,
    ]);
  });

  it.each<[string, Partial<ProtectedItem>]>([
    ['that runs at the recovery site', { phase: 'FailedOver', activeSide: 'recovery', shipped }],
    ['of which nothing was sent yet', { phase: 'Seeding' }],
  ])('is not told of a VM %s', (_, changes) => {
    const state = { items: [item('db', changes)] };
    expect(values(state, 'farshore_rpo_seconds')).toEqual([]);
    expect(values(state, 'farshore_last_cycle_sealed_timestamp_seconds')).toEqual([]);
  });
});

it('reports each condition once, with its reason and severity', () => {
  const failure = toFailure('StoreFull', 'the store is full');
  const retry = { failure, attempt: 1, since: at(0), nextTryAt: at(60) };
  const state = { items: [item('db', { retry, paused: { since: at(0) } }), item('web')] };
  expect(told(state, 'farshore_condition')).toEqual([
    { labels: { ...labelsOf('db'), reason: 'StoreFull', health: 'Warning' }, value: 1 },
    { labels: { ...labelsOf('db'), reason: 'Paused', health: 'Warning' }, value: 1 },
  ]);
  expect(values(state, 'farshore_paused')).toEqual([1, 0]);
});

it('counts running jobs of every kind, and omits a VM that was never protected', () => {
  const job = { requestId: 'r', jobId: 'j', kind: 'enableProtection', startedAt: at(0), heardAt: at(0) } as const;
  const items = [item('new', { phase: 'Unprotected', job }), item('never', { phase: 'Unprotected' })];
  const jobs = told({ items }, 'farshore_running_jobs');
  expect(jobs.filter(({ value }) => value > 0).map(({ labels }) => labels)).toEqual([
    { vault: 'v', kind: 'enableProtection' },
  ]);
  expect(jobs.length).toBeGreaterThan(1);
  expect(told({ items }, 'farshore_replication_health').map(({ labels }) => labels['vm'])).toEqual(['new']);
});

it('reports nothing, rather than zeros, for values that were never read', () => {
  expect(vaultMeasures({ vault: 'v' }, at(0)).flatMap(({ samples }) => samples)).toEqual([]);
});

it('reports the facts that only the store knows', () => {
  const state = {
    items: [item('db'), item('web')],
    points: new Map([['db', 4]]),
    unattended: 2,
    stopped: 1,
    readAt: at(5),
  };
  expect(told(state, 'farshore_recovery_points')).toEqual([{ labels: labelsOf('db'), value: 4 }]);
  expect(told(state, 'farshore_unattended_replicas')).toEqual([{ labels: { vault: 'v' }, value: 2 }]);
  expect(told(state, 'farshore_stopped_replica_vms')).toEqual([{ labels: { vault: 'v' }, value: 1 }]);
  expect(values(state, 'farshore_state_read_timestamp_seconds')).toEqual([START_MS / 1000 + 5]);
});

describe('missed cycles', () => {
  const policy = { ...newItem().policy, copyFrequency: '5m' as const };

  it.each([
    ['on time', 0, 0],
    ['late, but before the next one is due', 299, 0],
    ['one tick has gone by', 300, 1],
    ['an hour late', 3_600, 12],
    ['ahead of time', -10, 0],
  ])('%s', (_, seconds, missed) => {
    expect(missedCycles(item('db', { policy, cycleDueAt: at(0) }), at(seconds))).toBe(missed);
  });

  it('are zero if no cycle was due', () => {
    expect(missedCycles(item('db', { policy }), at(1_000))).toBe(0);
  });
});
