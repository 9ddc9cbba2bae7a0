import { describe, expect, test } from 'vitest';
import { isAppConsistentDue, type AppConsistentFailure } from '../../domain/app-consistency.js';
import { conditionsOf } from '../../domain/health.js';
import { checkPolicy, policySchema, type Policy } from '../../domain/policy.js';
import { newProtectedItem, type ProtectedItem } from '../../domain/protected-item.js';
import { next } from '../../domain/transitions.js';

const at = (minutes: number) => new Date(Date.UTC(2026, 0, 1) + minutes * 60_000).toISOString();
const policy = (hours: number): Policy =>
  policySchema.parse({ name: 'p', recoveryPointRetentionHours: 24, appConsistentFrequencyHours: hours });
const itemWith = (hours: number): ProtectedItem => ({
  ...newProtectedItem({ vault: 'vault', vm: 'db-01', host: 'host-1', vmmServer: 'vmm-1', policy: policy(hours) }),
  ...{ phase: 'Protected', epoch: 1 },
});
const tried = (item: ProtectedItem, minutes: number, failure?: AppConsistentFailure) =>
  next(item, {
    type: 'cycleShipped',
    cycle: { sequence: item.nextSequence, sealedAt: at(minutes), bytes: 0 },
    appConsistency: { at: at(minutes), failure },
  });
const frozen: AppConsistentFailure = { reason: 'AppConsistentFailed', message: 'the guest did not answer' };
const missing: AppConsistentFailure = { reason: 'GuestAgentMissing', message: 'it has no guest agent' };

describe('app-consistent points', () => {
  test('are due at the frequency of the policy, the first immediately; never with 0', () => {
    expect(isAppConsistentDue(itemWith(0), at(0))).toBe(false);
    const item = itemWith(2);
    expect(isAppConsistentDue(item, at(0))).toBe(true);
    const made = tried(item, 0);
    expect(isAppConsistentDue(made, at(119))).toBe(false);
    expect(isAppConsistentDue(made, at(120))).toBe(true);
    // Another policy counts at once.
    expect(isAppConsistentDue({ ...made, policy: policy(1) }, at(60))).toBe(true);
    expect(isAppConsistentDue({ ...made, policy: policy(0) }, at(600))).toBe(false);
  });

  test('are retried after a quarter of an hour if they fail', () => {
    const failed = tried(itemWith(2), 0, frozen);
    expect(isAppConsistentDue(failed, at(14))).toBe(false);
    expect(isAppConsistentDue(failed, at(15))).toBe(true);
  });

  test('show a Warning with the cause since the first failure, until one succeeds', () => {
    const failed = tried(tried(itemWith(1), 0, frozen), 15, frozen);
    expect(conditionsOf(failed, at(16))).toMatchObject([
      { reason: 'AppConsistentFailed', health: 'Warning', since: at(0), message: expect.stringContaining('answer') },
    ]);
    expect(conditionsOf(tried(failed, 30), at(31))).toEqual([]);
    expect(conditionsOf({ ...failed, policy: policy(0) }, at(16))).toEqual([]);
  });

  test('without a guest agent, show a Warning that says what is missing', () => {
    const [condition] = conditionsOf(tried(itemWith(1), 0, missing), at(1));
    expect(condition).toMatchObject({ reason: 'GuestAgentMissing', health: 'Warning' });
    expect(condition?.remedy).toContain('guestAgent');
  });

  test('a policy cannot request more of them than it keeps', () => {
    const check = (frequency: number, retention: number) =>
      checkPolicy({ ...policy(frequency), recoveryPointRetentionHours: retention }).map(({ field }) => field);
    expect(check(0, 0)).toEqual([]);
    expect(check(2, 2)).toEqual([]);
    expect(check(3, 2)).toEqual(['appConsistentFrequencyHours']);
    expect(check(1, 0)).toEqual(['appConsistentFrequencyHours']);
  });
});
