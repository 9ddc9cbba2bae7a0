import { describe, expect, test } from 'vitest';
import { adopt, type TrackingFacts, type VaultFacts } from '../../domain/adopted-item.js';
import { allowedOperations } from '../../domain/operations.js';
import { policySchema } from '../../domain/policy.js';
import type { CycleManifest } from '../../domain/vault.js';

const of = { vault: 'v', vm: 'db-01', host: 'h', vmmServer: 's', policy: policySchema.parse({ name: 'p' }) };
const at = '2026-03-01T00:00:00.000Z';
const time = '2026-02-28T23:00:00.000Z';

const vault = (change: Partial<VaultFacts> = {}): VaultFacts => ({
  description: {
    vm: 'db-01',
    host: 'h',
    vmmServer: 's',
    epoch: 3,
    generation: 2,
    size: 'small',
    osDisk: 'os',
    disks: [{ name: 'os', size: 512, replicaSize: 1_048_576 }],
    networkAdapters: [],
    finalized: true,
  },
  fence: { epoch: 3, sequence: 7 },
  state: undefined,
  applied: { epoch: 3, sequence: 7, sealedAt: time, final: false, disks: [{ name: 'os', lastWrite: 40 }] },
  received: [],
  points: [],
  ...change,
});
const tracking = (change: object = {}): TrackingFacts => ({
  epoch: 3,
  openSequence: 8,
  lastWrites: { os: 44 },
  ...change,
});
const received = (sequence: number) => ({ sequence, sealedAt: time }) as CycleManifest;
const itemOf = (facts: VaultFacts, tracked: TrackingFacts = tracking()) => {
  const adoption = adopt(of, facts, tracked, at);
  if ('refusal' in adoption) throw new Error(adoption.refusal);
  return adoption.item;
};

describe('a VM adopted from the vault', () => {
  test('that was failed back and runs in its layers can be committed, and its failback cancelled', () => {
    const adoption = adopt(of, vault({ fence: { epoch: 6, sequence: 0 } }), 'none', at, true);
    if ('refusal' in adoption) throw new Error(adoption.refusal);
    expect(adoption.item).toMatchObject({ phase: 'FailedBack', activeSide: 'primary', epoch: 6 });
    expect(adoption.item.resync).toBeUndefined();
    const { commitFailover, cancelFailback } = allowedOperations(adoption.item);
    expect([commitFailover.allowed, cancelFailback.allowed]).toEqual([true, true]);
  });

  test.each<[string, VaultFacts, TrackingFacts]>([
    ['the next cycle is open', vault(), tracking()],
    ['the next cycle was cut and not sent any more', vault(), tracking({ openSequence: 9 })],
    ['a received cycle is not applied yet', vault({ received: [received(8)] }), tracking({ openSequence: 9 })],
    ['nobody can tell: the first cycle finds out', vault(), 'unknown'],
  ])('goes on by differences: %s', (_, facts, tracked) => {
    const item = itemOf(facts, tracked);
    expect(item).toMatchObject({
      phase: 'Protected',
      activeSide: 'primary',
      epoch: 3,
      nextSequence: 8,
      cycleDueAt: at,
    });
    expect(item.resync).toBeUndefined();
  });

  test.each<[string, VaultFacts, TrackingFacts]>([
    ['no longer tracks', vault(), 'none'],
    ['disk full', vault(), tracking({ resyncCause: 'disk full' })],
    ['tracks epoch 2', vault(), tracking({ epoch: 2 })],
    ['open logs belong to cycle 10', vault(), tracking({ openSequence: 10 })],
    ['open logs belong to cycle 7', vault(), tracking({ openSequence: 7 })],
    ['at write 39, but its replica is at write 40', vault(), tracking({ lastWrites: { os: 39 } })],
    ['fenced by epoch 4', vault({ fence: { epoch: 4, sequence: 0 } }), tracking()],
    ['was being copied', vault({ applied: { ...vault().applied!, epoch: 2 } }), tracking()],
  ])('is marked for resynchronization: %s', (cause, facts, tracked) => {
    const item = itemOf(facts, tracked);
    expect(item.resync).toEqual({ cause: expect.stringContaining(cause), since: at });
    expect(item.cycleDueAt).toBeUndefined();
  });

  test.each(['FailedOver', 'Committed'] as const)(
    'that is %s stays at the recovery site; the source is told',
    (phase) => {
      const state = { epoch: 4, phase, recoveryPoint: '0003-00000007', recoveryPointTime: time, at: time };
      expect(itemOf(vault({ state, fence: { epoch: 4, sequence: 0 } }), 'unknown')).toMatchObject({
        phase,
        activeSide: 'recovery',
        epoch: 4,
        latestRecoveryPoint: { id: '0003-00000007', time },
        sourceFence: { epoch: 4, since: at },
      });
    },
  );

  test('a VM with a complete copy is finalized next; one with an incomplete copy is refused', () => {
    const seeding = vault({ description: { ...vault().description, finalized: false } });
    expect(itemOf(seeding)).toMatchObject({ phase: 'Seeding', pending: [{ kind: 'finalizeProtection' }] });
    const refusal = { refusal: expect.stringContaining('not complete') };
    expect(adopt(of, { ...seeding, applied: undefined }, tracking(), at)).toEqual(refusal);
  });
});

test('a test failover that is recorded in the vault is there again, and is cleaned up a day later', () => {
  const point = { id: '0003-00000005', epoch: 3, sequence: 5, time, disks: [] };
  const item = itemOf(vault({ testHold: { testVm: 'db-01-test', jobId: 'job/1', since: time, of: point } }));
  expect(item.drill).toMatchObject({
    testVm: 'db-01-test',
    since: time,
    tested: { recoveryPoint: { id: point.id, time } },
    cleanUpAt: '2026-03-02T00:00:00.000Z',
  });
  expect(allowedOperations(item).cleanupTestFailover.allowed).toBe(true);
});
