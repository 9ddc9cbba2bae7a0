import { describe, expect, it } from 'vitest';
import { conditionsOf, healthOf, nextHealthChange } from '../../domain/health.js';
import { policySchema } from '../../domain/policy.js';
import type { ProtectedItem } from '../../domain/protected-item.js';
import { at, newItem } from './random-life.js';

/** Every cycle was on time, and the next one is due at 1,000 s. */
const item: ProtectedItem = {
  ...newItem(),
  policy: policySchema.parse({ name: 'p', copyFrequency: '30s' }),
  phase: 'Protected',
  cycleDueAt: at(1_000),
  shipped: { sequence: 9, sealedAt: at(970), bytes: 1 },
  cycleHistory: Array<boolean>(20).fill(true),
};

describe('cycles that are overdue', () => {
  it('count as missed while the late cycle is not done', () => {
    expect(healthOf(item, at(1_000 + 4 * 30))).toBe('Normal');
    expect(healthOf(item, at(1_000 + 5 * 30))).toBe('Warning');
    // Most of ten minutes without a recovery point, at 30 seconds.
    expect(healthOf(item, at(970 + 584))).toBe('Warning');
  });

  it('are reported at the instant when there are too many', () => {
    expect(nextHealthChange(item, at(1_001))).toBe(at(1_000 + 5 * 30));
  });

  it.each<[string, Partial<ProtectedItem>]>([
    ['a pause', { paused: { since: at(999) } }],
    ['what waits its turn', { pending: [{ requestId: 'r', jobId: 'j', kind: 'verifyReplica' }] }],
  ])('are none while %s keeps them from being made', (_, kept) => {
    const reasons = conditionsOf({ ...item, ...kept }, at(2_000)).map(({ reason }) => reason);
    expect(reasons).not.toContain('CyclesMissed');
  });
});
