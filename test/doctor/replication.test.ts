/** What `doctor` says of VMs: each that is not Normal or is overdue by name, and a silent host once. */
import { expect, test } from 'vitest';
import { toFailure, type FailureCode } from '../../domain/errors.js';
import { policySchema } from '../../domain/policy.js';
import type { ProtectedItem } from '../../domain/protected-item.js';
import { replicationFindings } from '../../doctor/replication.js';
import { at, newItem } from '../domain/random-life.js';

/** Every cycle was on time, and the next one is due at 1,000 s. */
const item = (vm: string, changes: Partial<ProtectedItem> = {}): ProtectedItem => ({
  ...newItem(),
  vm,
  policy: policySchema.parse({ name: 'p', copyFrequency: '30s' }),
  phase: 'Protected',
  cycleDueAt: at(1_000),
  shipped: { sequence: 9, sealedAt: at(970), bytes: 1 },
  latestRecoveryPoint: { id: 'p', time: at(970) },
  cycleHistory: Array<boolean>(20).fill(true),
  ...changes,
});
const since = (seconds: number, code: FailureCode) => ({
  failure: toFailure(code, `simulated ${code}`),
  since: at(seconds),
});
const found = (items: readonly ProtectedItem[], seconds: number, siteVms = items.map(({ vm }) => vm)) =>
  replicationFindings(new Map(items.map((each) => [each.vm, each])), siteVms, at(seconds));

test('VMs that are Normal and on time are ok, and unprotected ones do not count', () => {
  expect(found([item('db-01'), item('app-01')], 1_001)).toEqual([
    { status: 'ok', message: 'Normal and on time: app-01, db-01' },
  ]);
  expect(found([], 1_001)).toEqual([{ status: 'ok', message: 'no VM is protected' }]);
  expect(found([item('db-01', { phase: 'Unprotected' })], 1_001)).toEqual([
    { status: 'ok', message: 'no VM is protected' },
  ]);
});

test('an overdue cycle is reported before it affects health, and only once when it does', () => {
  expect(found([item('db-01')], 1_031)).toMatchObject([
    {
      status: 'warning',
      message: `db-01: the cycle due at ${at(1_000)} is overdue, and 1 cycle has been missed`,
      remedy: expect.stringContaining('farshore vm show db-01'),
      vms: ['db-01'],
    },
  ]);
  expect(found([item('db-01')], 1_160)).toMatchObject([
    {
      status: 'warning',
      message: 'db-01: 5 of the last 20 cycles were missed',
      remedy: expect.stringMatching(/^If an interruption has just ended, there is nothing to do/),
    },
  ]);
});

test('each VM has its reason and the next command, the worst first', () => {
  const retry = { ...since(400, 'StoreFull'), attempt: 3, nextTryAt: at(1_240) };
  const findings = found([item('app-01', { paused: { since: at(900) } }), item('db-01', { retry })], 1_001);
  expect(findings).toMatchObject([
    {
      status: 'problem',
      message: expect.stringContaining('db-01: simulated StoreFull'),
      remedy: expect.stringMatching(/\nfarshore retry db-01 {2}/),
    },
    {
      status: 'warning',
      message: expect.stringContaining('app-01: replication is paused'),
      remedy: 'farshore resume app-01',
    },
  ]);
});

test('a VM that was failed over and committed is reported with the next command, although nothing has to be done', () => {
  expect(found([item('db-01', { phase: 'Committed', activeSide: 'recovery' })], 1_001)).toMatchObject([
    {
      status: 'warning',
      remedy: expect.stringMatching(
        /It can stay there\. To bring it back to the primary site: farshore failback db-01$/,
      ),
    },
  ]);
});

test('the VMs of a silent host are reported together, and problems of single VMs separately', () => {
  const hostTrouble = since(1_000, 'AgentNotAnswering');
  const items = [
    item('db-01', { hostTrouble }),
    item('app-01', { hostTrouble, paused: { since: at(900) } }),
    item('web-01', { host: 'host-2', cycleDueAt: at(5_000), shipped: { sequence: 9, sealedAt: at(4_900), bytes: 1 } }),
  ];
  const findings = found(items, 4_990);
  expect(findings).toMatchObject([
    {
      status: 'problem',
      host: 'host-1',
      vms: ['app-01', 'db-01'],
      message: expect.stringContaining('Host host-1 lost, 2 VMs (app-01, db-01)'),
      remedy: expect.stringContaining(
        'farshore failover app-01 db-01 --type unplanned --wait\nIf the host is not lost, restart the processes that are down there',
      ),
    },
    { status: 'warning', vms: ['app-01'], message: expect.stringContaining('paused') },
  ]);
  // Hours without a cycle, which come of the silence, are not told of each VM besides.
  expect(findings).toHaveLength(2);
});

test('a VM that is no longer in the site file is reported', () => {
  expect(found([item('db-01'), item('old-01')], 1_001, ['db-01'])).toMatchObject([
    {
      status: 'warning',
      message: 'old-01: the VM is protected but missing from the site file',
      remedy: expect.stringContaining('under this name'),
      vms: ['old-01'],
    },
  ]);
});

test('a replica without updates, and a VM that should run at the recovery site, are problems, protected or not', () => {
  const state = { epoch: 3, phase: 'Committed' as const, recoveryPoint: 'p', recoveryPointTime: at(1), at: at(2) };
  const items = new Map([['over-01', item('over-01', { phase: 'Committed', activeSide: 'recovery' })]]);
  const held = [
    { vm: 'lost-01', asProtected: true, state },
    { vm: 'over-01', asProtected: true, state },
  ];
  const look = (replicaVms: Map<string, 'Running' | 'Off'>) =>
    replicationFindings(items, ['lost-01', 'over-01'], at(1_001), { held, replicaVms }).map(
      ({ status, remedy }) => `${status}: ${remedy}`,
    );
  expect(look(new Map([['over-01', 'Off']]))).toEqual([
    'problem: farshore vault adopt lost-01',
    'problem: farshore vm start lost-01',
    'problem: farshore vm start over-01',
    expect.stringMatching(/^warning: It can stay there/),
  ]);
  const running = new Map(['lost-01', 'over-01'].map((vm) => [vm, 'Running' as const]));
  expect(look(running)).toEqual(['problem: farshore vault adopt lost-01', expect.stringMatching(/^warning/)]);
});
