import { describe, expect, test } from 'vitest';
import type { LocatedVm } from '../../domain/host.js';
import { toFailure } from '../../domain/errors.js';
import { policySchema } from '../../domain/policy.js';
import { newProtectedItem, type ProtectedItem } from '../../domain/protected-item.js';
import { next } from '../../domain/transitions.js';

const AT = '2026-03-01T12:00:00.000Z';
const trouble = { failure: toFailure('AgentNotAnswering', 'silent'), since: AT };
const item = (change: Partial<ProtectedItem> = {}): ProtectedItem => ({
  ...newProtectedItem({
    vault: 'v',
    vm: 'db-01',
    host: 'h1',
    vmmServer: 'vmm',
    policy: policySchema.parse({ name: 'p' }),
  }),
  phase: 'Protected',
  epoch: 3,
  cycleDueAt: AT,
  hostTrouble: trouble,
  ...change,
});
const moved = (before: ProtectedItem, found: LocatedVm) => next(before, { type: 'vmMoved', found, at: AT });

describe('a VM that has moved', () => {
  test('continues from its new host, and reports of the former host are dropped', () => {
    const after = moved(item(), { host: 'h2', tracking: { epoch: 3 } });
    const { hostTrouble: _, ...rest } = item();
    expect(after).toEqual({ ...rest, host: 'h2' });
    const same = item();
    expect(moved(same, { host: 'h1' })).toBe(same);
  });

  test.each<[string, LocatedVm, string]>([
    ['not at all', { host: 'h2' }, 'the VM was moved to host h2, which did not track its changes'],
    [
      'in another epoch',
      { host: 'h2', tracking: { epoch: 2 } },
      'the VM was moved to host h2, which tracks epoch 2 instead of 3',
    ],
    ['no more', { host: 'h2', tracking: { epoch: 3, resyncCause: 'disk os was added' } }, 'disk os was added'],
  ])('is marked where it is tracked %s', (_how, found, cause) => {
    const after = moved(item(), found);
    expect(after.resync).toEqual({ cause, since: AT });
    expect(after.cycleDueAt).toBeUndefined();
    // A job finds out by itself; who is marked already, or runs elsewhere, is not marked for it.
    const job = { requestId: 'r', jobId: 'j', kind: 'resynchronize', startedAt: AT, heardAt: AT } as const;
    expect(moved(item({ job }), found).resync).toBeUndefined();
    expect(moved(item({ phase: 'FailedOver', activeSide: 'recovery' }), found).resync).toBeUndefined();
    const resync = { cause: 'before', since: AT };
    expect(moved(item({ resync }), found)).toMatchObject({ host: 'h2', resync });
  });
});
