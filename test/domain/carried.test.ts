import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { readCarried } from '../../domain/carried.js';
import { policySchema } from '../../domain/policy.js';
import { newProtectedItem, protectedItemSchema } from '../../domain/protected-item.js';
import { STATE_VERSION, migrate, type State } from '../../domain/state-version.js';

const policy = policySchema.parse({
  name: 'p',
  resynchronizationWindow: { from: '01:00', to: '02:00', timeZone: 'UTC' },
});
const item = newProtectedItem({ vault: 'v', vm: 'db', host: 'h', vmmServer: 's', policy });
const at = '2026-03-01T12:30:05.123Z';

describe('fields left by a newer version', () => {
  const newer = {
    ...item,
    stateVersion: STATE_VERSION + 1,
    newer: { of: ['the', 'item'] },
    policy: {
      ...policy,
      newer: true,
      resynchronizationWindow: { from: '01:00', to: '02:00', timeZone: 'UTC', newer: 1 },
    },
    applied: { sequence: 7, sealedAt: at, bytes: 1, newer: 'of a cycle' },
    recentJobs: [
      { id: 'a', kind: 'verifyReplica', outcome: 'succeeded', endedAt: at, newer: 'of a job' },
      { id: 'b', kind: 'verifyReplica', outcome: 'succeeded', endedAt: at },
    ],
  };

  it('are kept at any depth', () => {
    const before = structuredClone(newer);
    expect(readCarried(protectedItemSchema, newer)).toEqual({ success: true, data: newer });
    expect(newer).toEqual(before);
  });

  it('do not excuse invalid fields', () => {
    const { success, error } = readCarried(protectedItemSchema, { ...newer, host: '' });
    expect([success, error?.issues.some(({ path }) => path[0] === 'host')]).toEqual([false, true]);
    expect(readCarried(protectedItemSchema, { ...newer, phase: 'Newer' }).success).toBe(false);
    expect(readCarried(protectedItemSchema, undefined).success).toBe(false);
  });

  it('do not undo defaults or changes made by a schema', () => {
    const schema = z.object({ a: z.number().default(1), b: z.array(z.int()).transform((all) => all.slice(1)) });
    expect(readCarried(schema, { b: [1, 2], c: 3 }).data).toEqual({ a: 1, b: [2], c: 3 });
  });
});

describe('a state of an older version', () => {
  const steps = [
    (state: State): State => ({ ...state, one: `${String(state['zero'])} and one` }),
    ({ one, ...state }: State): State => ({ ...state, two: `${String(one)} and two` }),
  ];

  it.each([
    [1, { zero: 'zero', two: 'zero and one and two', stateVersion: 3 }],
    [2, { zero: 'zero', two: 'undefined and two', stateVersion: 3 }],
    [3, { zero: 'zero', stateVersion: 3 }],
    [4, { zero: 'zero', stateVersion: 4 }],
  ])('of version %i goes through the steps that it lacks', (stateVersion, migrated) => {
    expect(migrate({ zero: 'zero', stateVersion }, steps)).toEqual(migrated);
  });

  it.each([[undefined], [null], ['text'], [{}], [{ stateVersion: 'x' }]])(
    'that is none, %j, stays what it is',
    (raw) => {
      expect(migrate(raw, steps)).toEqual(raw);
    },
  );

  it('of version 1 equals what this code writes, once migrated', () => {
    expect(protectedItemSchema.parse(migrate({ ...item, stateVersion: 1 })).stateVersion).toBe(STATE_VERSION);
  });
});
