import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { toFailure, type FailureCode } from '../../domain/errors.js';
import { conditionsOf, healthOf, nextHealthChange, rpoSeconds } from '../../domain/health.js';
import { retryDelayMs } from '../../domain/retry.js';
import { phases, type ProtectedItem } from '../../domain/protected-item.js';
import { toIso, toMs } from '../../domain/time.js';
import { at, Life, move, newItem, START_MS } from './random-life.js';

const item = (changes: Partial<ProtectedItem>): ProtectedItem => ({ ...newItem(), phase: 'Protected', ...changes });
const reasons = (of: ProtectedItem, seconds: number) =>
  conditionsOf(of, at(seconds)).map(({ reason, health }) => `${health} ${reason}`);
const retryOf = (code: FailureCode, seconds: number, waits = false) => ({
  failure: toFailure(code, 'the store is full'),
  attempt: 1,
  since: at(seconds),
  ...(!waits && { nextTryAt: toIso(START_MS + seconds * 1000 + retryDelayMs(1)) }),
});
const shipped = (seconds: number) => ({ sequence: 1, sealedAt: at(seconds), bytes: 0 });

describe('conditions', () => {
  it.each<[string, Partial<ProtectedItem>, number, string[]]>([
    ['nothing is wrong', { shipped: shipped(0) }, 3600, []],
    ['over an hour since the last send', { shipped: shipped(0) }, 3601, ['Warning NotSentForLong']],
    ['a failure that may pass', { retry: retryOf('StoreFull', 0) }, 119, ['Warning StoreFull']],
    ['a failure that lasts', { retry: retryOf('StoreFull', 0) }, 120, ['Critical StoreFull']],
    ['a failure that waits for a person', { retry: retryOf('DiskMissing', 0, true) }, 0, ['Critical DiskMissing']],
    ['marked', { resync: { cause: 'logs are full', since: at(0) } }, 0, ['Critical ResyncRequired']],
    [
      'the first copy',
      { phase: 'Seeding', pending: [{ requestId: 'r', jobId: 'j', kind: 'initialReplication' }] },
      0,
      ['Warning InitialReplicationIncomplete'],
    ],
    ['the first copy, ended early', { phase: 'Seeding' }, 0, ['Critical InitialReplicationStopped']],
    ['failed over', { phase: 'FailedOver' }, 0, ['Warning NotReverseReplicated']],
    ['committed', { phase: 'Committed' }, 0, ['Warning NotReverseReplicated']],
    ['a fifth of the cycles missed', { cycleHistory: [false, true, true, true, true] }, 0, []],
    ['more than a fifth', { cycleHistory: [false, true, true, true] }, 0, ['Warning CyclesMissed']],
    ['never protected', { phase: 'Unprotected' }, 0, []],
    [
      'the worst comes first',
      {
        cycleHistory: [false],
        shipped: shipped(0),
        retry: retryOf('StoreFull', 7000),
        resync: { cause: 'c', since: at(1) },
      },
      7200,
      ['Critical StoreFull', 'Critical ResyncRequired', 'Warning NotSentForLong', 'Warning CyclesMissed'],
    ],
  ])('%s', (_what, changes, seconds, expected) => {
    expect(reasons(item(changes), seconds)).toEqual(expected);
    expect(healthOf(item(changes), at(seconds))).toBe(expected[0]?.split(' ')[0] ?? 'Normal');
  });

  it('a failing step of the job counts as one of the VM', () => {
    const job = { requestId: 'r', jobId: 'j', kind: 'plannedFailover' as const, startedAt: at(0), heardAt: at(0) };
    expect(reasons(item({ job: { ...job, retry: retryOf('StoreFull', 0) } }), 1)).toEqual(['Warning StoreFull']);
  });

  it('say what to do', () => {
    const [waiting] = conditionsOf(item({ retry: retryOf('DiskMissing', 0, true) }), at(5));
    expect(waiting).toMatchObject({
      message: 'the store is full; waits for an administrator',
      remedy: 'Put the disk file back where it was.',
      since: at(0),
    });
    const [stopped] = conditionsOf(item({ phase: 'Seeding' }), at(5));
    expect(stopped).toMatchObject({ remedy: 'farshore retry db-01' });
  });
});

describe('nextHealthChange', () => {
  const some = fc.integer({ min: 0, max: 8_000 });
  const anyItem = fc
    .record(
      {
        phase: fc.constantFrom(...phases),
        shipped: some.map(shipped),
        cycleHistory: fc.array(fc.boolean(), { maxLength: 20 }),
        retry: fc.tuple(some, fc.boolean()).map(([seconds, waits]) => retryOf('StoreFull', seconds, waits)),
        resync: some.map((seconds) => ({ cause: 'c', since: at(seconds) })),
      },
      { requiredKeys: ['phase'] },
    )
    .map(item);
  const told = (of: ProtectedItem, now: string) =>
    conditionsOf(of, now).map(({ reason, health }) => `${health} ${reason}`);

  it('until then nothing changes, and then something does', () => {
    fc.assert(
      fc.property(anyItem, some, fc.array(fc.nat(10_000_000), { maxLength: 8 }), (of, seconds, later) => {
        const now = at(seconds);
        const change = nextHealthChange(of, now);
        const until = change === undefined ? Infinity : toMs(change);
        expect(until).toBeGreaterThan(toMs(now));
        const looks = [...later.map((ms) => toMs(now) + ms), until - 1];
        for (const look of looks.filter((ms) => ms >= toMs(now) && ms < until)) {
          expect(told(of, toIso(look))).toEqual(told(of, now));
        }
        // Looking once in vain at a VM that is Critical already does no harm.
        const waits = of.retry !== undefined && of.retry.nextTryAt === undefined;
        if (change !== undefined && !waits) expect(told(of, change)).not.toEqual(told(of, now));
      }),
      { numRuns: 500 },
    );
  });

  it('leads through every change of a life, one after the other', () => {
    fc.assert(
      fc.property(fc.array(move, { maxLength: 40, size: 'max' }), (moves) => {
        const life = new Life(() => undefined);
        for (const one of moves) life.make(one);
        let now = life.now;
        let looks = 0;
        for (let at = nextHealthChange(life.item, now); at !== undefined; at = nextHealthChange(life.item, now)) {
          now = at;
          looks += 1;
        }
        // One for a failure, one for the last send.
        expect(looks).toBeLessThanOrEqual(2);
        expect(told(life.item, toIso(toMs(now) + 10 * 86_400_000))).toEqual(told(life.item, now));
      }),
    );
  });
});

it('the recovery point objective counts from the seal of the newest durable cycle, while the VM runs at home', () => {
  expect(rpoSeconds(item({}), at(10))).toBeUndefined();
  expect(rpoSeconds(item({ shipped: shipped(10) }), at(40))).toBe(30);
  expect(rpoSeconds(item({ shipped: shipped(10) }), at(5))).toBe(0);
  expect(rpoSeconds(item({ shipped: shipped(10), activeSide: 'recovery' }), at(40))).toBeUndefined();
});
