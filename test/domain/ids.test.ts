import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { compareFences, fenceSchema, formatFence } from '../../domain/fence.js';
import { compactTime, cycleName, jobId, nameSchema, planRunId, protectedItemId, taskQueues } from '../../domain/ids.js';
import { toIso } from '../../domain/time.js';

describe('names', () => {
  it.each(['a', 'db-01', 'DB_01.example', '0', 'x'.repeat(63)])('"%s" is one', (name) => {
    expect(nameSchema.parse(name)).toBe(name);
  });

  it.each([
    '',
    'x'.repeat(64),
    '.',
    '..',
    '-a',
    'a-',
    'a..b',
    'a/b',
    'a\\b',
    'a b',
    'ä',
    'a\n',
    '\u0000',
    '.hidden',
    'a.',
  ])('%j is none', (name) => {
    expect(nameSchema.safeParse(name).success).toBe(false);
  });

  it('every accepted name is a single part of a path', () => {
    fc.assert(
      fc.property(fc.oneof(fc.string(), fc.stringMatching(/^[\w./\\-]{1,10}$/)), (text) => {
        if (nameSchema.safeParse(text).success) expect(text).toMatch(/^(?!\.)(?!.*\.\.)[A-Za-z0-9._-]{1,63}$/);
      }),
    );
  });
});

describe('ids', () => {
  it('are readable by people', () => {
    const at = '2026-03-01T12:30:05.123Z';
    expect(compactTime(at)).toBe('20260301T123005Z');
    expect(compactTime('2026-03-01T12:30:05Z')).toBe('20260301T123005Z');
    expect(jobId('v-1', 'db-01', 'plannedFailover', at, 0)).toBe('job/v-1/db-01/planned-failover/20260301T123005Z');
    expect(jobId('v-1', 'db-01', 'plannedFailover', at, 2)).toBe('job/v-1/db-01/planned-failover/20260301T123005Z-2');
    expect(planRunId('v-1', 'three-tier', at)).toBe('plan/v-1/three-tier/20260301T123005Z');
    expect(protectedItemId('vault-1', 'db-01')).toBe('vm/vault-1/db-01');
    expect([taskQueues.azure('v'), taskQueues.vmm('v', 's'), taskQueues.host('v', 'h')]).toEqual([
      'azure:v',
      'vmm:v/s',
      'host:v/h',
    ]);
  });

  it('that contain a time sort by it', () => {
    const second = fc.integer({ min: 0, max: 4_000_000_000 });
    fc.assert(
      fc.property(second, second, (a, b) => {
        const [first, other] = [a, b].map((seconds) => compactTime(toIso(seconds * 1000)));
        expect(first! < other!).toBe(a < b);
      }),
    );
  });
});

describe('fences', () => {
  const fence = fc.record({ epoch: fc.nat(9_999), sequence: fc.nat(99_999_999) });
  /** Often of the same epoch. */
  const near = fc.record({ epoch: fc.nat(3), sequence: fc.nat(3) });

  it('are ordered by epoch first, and by name as well as by number', () => {
    fc.assert(
      fc.property(fc.oneof(fence, near), fc.oneof(fence, near), (a, b) => {
        const order = Math.sign(compareFences(a, b));
        expect(order + Math.sign(compareFences(b, a))).toBe(0);
        const expected = a.epoch === b.epoch ? a.sequence - b.sequence : a.epoch - b.epoch;
        expect(order).toBe(Math.sign(expected));
        const [left, right] = [cycleName(a.epoch, a.sequence), cycleName(b.epoch, b.sequence)];
        expect(left < right ? -1 : left > right ? 1 : 0).toBe(order);
      }),
    );
  });

  it('keep their order when the number of digits grows', () => {
    for (let digits = 1; digits < 8; digits += 1) {
      expect(cycleName(1, 10 ** digits - 1) < cycleName(1, 10 ** digits)).toBe(true);
    }
    for (let digits = 1; digits < 4; digits += 1) {
      expect(cycleName(10 ** digits - 1, 5) < cycleName(10 ** digits, 4)).toBe(true);
    }
  });

  it('are readable by people', () => {
    expect(formatFence({ epoch: 3, sequence: 14 })).toBe('epoch 3, sequence 14');
  });

  it.each([{ epoch: -1, sequence: 0 }, { epoch: 0, sequence: -1 }, { epoch: 0.5, sequence: 1 }, { epoch: 1 }])(
    'are whole numbers from 0: %j is none',
    (raw) => {
      expect(fenceSchema.safeParse(raw).success).toBe(false);
    },
  );
});
