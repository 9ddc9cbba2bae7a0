import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { toFailure, type FailureCode } from '../../domain/errors.js';
import { alertedHealthOf, conditionsOf, healthOf, nextHealthChange, rpoSeconds } from '../../domain/health.js';
import { retryDelayMs } from '../../domain/retry.js';
import { phases, type ProtectedItem } from '../../domain/protected-item.js';
import { toIso, toMs } from '../../domain/time.js';
import { next, type ItemEvent } from '../../domain/transitions.js';
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
    ['a failure that waits for an operator', { retry: retryOf('DiskMissing', 0, true) }, 0, ['Critical DiskMissing']],
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

  it('a committed VM says how to bring it home, and what its source did meanwhile', () => {
    const sourceRan = { until: at(7) };
    const committed = item({ phase: 'Committed', activeSide: 'recovery', sourceRan });
    expect(conditionsOf(committed, at(9))).toMatchObject([
      {
        reason: 'NotReverseReplicated',
        remedy: expect.stringMatching(/^It can stay there\. .*: farshore failback /),
      },
      { reason: 'SourceRan', message: expect.stringContaining(`until it was turned off at ${at(7)}`) },
    ]);
  });

  it('a source that still has to be told names its host, and since when that has been silent', () => {
    const sourceFence = { epoch: 3, since: at(9), hostSilentAt: at(4) };
    const owed = item({ phase: 'Committed', activeSide: 'recovery', sourceFence });
    expect(conditionsOf(owed, at(10)).at(-1)!.message).toMatch(
      new RegExp(`^the source on host ${owed.host} is not fenced yet, .* the host had not answered since ${at(4)}$`),
    );
  });

  it.each<[boolean[], string]>([
    [[false], 'the last cycle was missed'],
    [[false, true, true], '1 of the last 3 cycles was missed'],
    [[false, false, true], '2 of the last 3 cycles were missed'],
  ])('missed cycles are counted as people do: %j', (cycleHistory, message) => {
    expect(conditionsOf(item({ cycleHistory }), at(0))).toMatchObject([{ message }]);
  });

  it('a failing step of a job counts as a condition of its VM', () => {
    const job = { requestId: 'r', jobId: 'j', kind: 'plannedFailover' as const, startedAt: at(0), heardAt: at(0) };
    expect(reasons(item({ job: { ...job, retry: retryOf('StoreFull', 0) } }), 1)).toEqual(['Warning StoreFull']);
  });

  it('never present a past time as a future one', () => {
    const message = (of: ProtectedItem, seconds: number) => conditionsOf(of, at(seconds))[0]!.message;
    const failing = item({ retry: { ...retryOf('StoreFull', 0), nextTryAt: at(20) } });
    expect(message(failing, 10)).toMatch(/next try in 10 s \(at 2026-03-01T00:00:20Z\)$/);
    expect(message(failing, 21)).toMatch(/the next try was due at 2026-03-01T00:00:20Z: /);
    const marked = item({ resync: { cause: 'changed', since: at(0), dueAt: at(20) } });
    expect(message(marked, 10)).toBe('changed; resynchronization starts in 10 s (at 2026-03-01T00:00:20Z)');
    expect(message(marked, 21)).toBe('changed; resynchronization was due at 2026-03-01T00:00:20Z');
    expect(message({ ...marked, paused: { since: at(1) } }, 21)).toBe(
      'changed; resynchronization starts after `resume`',
    );
  });

  it('name the remedy', () => {
    const [waiting] = conditionsOf(item({ retry: retryOf('DiskMissing', 0, true) }), at(5));
    expect(waiting).toMatchObject({
      message: 'the store is full; waits for an operator',
      remedy: 'Put the disk file back where it was.',
      since: at(0),
    });
    const [stopped] = conditionsOf(item({ phase: 'Seeding' }), at(5));
    expect(stopped).toMatchObject({ remedy: 'farshore retry db-01' });
  });
});

describe('a job that begins', () => {
  const request = { requestId: 'r', jobId: 'j', kind: 'plannedFailover' as const };
  const started = (of: ProtectedItem, seconds: number) =>
    next({ ...of, pending: [request] }, { type: 'jobStarted', jobId: 'j', at: at(seconds) });
  const stuck = item({ retry: retryOf('StoreFull', 0), cycleDueAt: at(0) });

  it('clears no condition, and its own failure does not make the condition younger', () => {
    const running = started(stuck, 600);
    expect(reasons(running, 600)).toEqual(['Critical StoreFull']);
    const failing = next(running, { type: 'jobProgressed', jobId: 'j', at: at(610), retry: retryOf('StoreFull', 610) });
    expect(reasons(failing, 611)).toEqual(['Critical StoreFull']);
    const over = next(failing, { type: 'jobEnded', jobId: 'j', at: at(620), result: { outcome: 'failed' } });
    expect(reasons(over, 621)).toEqual(['Critical StoreFull']);
    const again = next(over, { type: 'stepFailed', retry: retryOf('StoreUnreachable', 622) });
    expect(reasons(again, 623)).toEqual(['Critical StoreUnreachable']);
  });

  it('keeps the report of a host that does not answer', () => {
    const silent = { failure: toFailure('AgentNotAnswering', 'm'), since: at(0) };
    const running = started(item({ hostTrouble: silent }), 600);
    const failing = next(running, {
      type: 'jobProgressed',
      jobId: 'j',
      at: at(660),
      retry: retryOf('AgentNotAnswering', 660),
    });
    expect(reasons(failing, 661)).toEqual(['Critical AgentNotAnswering']);
    const back = next(running, { type: 'hostChanged', news: {}, at: at(700) });
    expect(reasons(back, 701)).toEqual([]);
  });

  it.each<[string, ItemEvent]>([
    ['it succeeds', { type: 'jobEnded', jobId: 'j', at: at(620), result: { outcome: 'succeeded' } }],
    ['it gets on', { type: 'jobProgressed', jobId: 'j', at: at(620), progress: { bytesDone: 1, bytesTotal: 2 } }],
    ['a cycle is applied', { type: 'cycleApplied', cycle: shipped(610), at: at(620) }],
  ])('leaves none behind once %s', (_what, event) => {
    const after = next(started(stuck, 600), event);
    expect(after).not.toHaveProperty('unresolved');
  });

  it.each(['plannedFailover', 'unplannedFailover'] as const)(
    'tells nothing of the host that a VM was failed over from (%s)',
    (kind) => {
      const silent = { failure: toFailure('AgentNotAnswering', 'm'), since: at(0) };
      const requests = [
        { requestId: 'f', jobId: 'f', kind },
        { requestId: 'c', jobId: 'c', kind: 'commitFailover' as const },
      ];
      const start = (of: ProtectedItem, jobId: string, seconds: number) =>
        next(
          { ...of, pending: requests.filter((each) => each.jobId === jobId) },
          { type: 'jobStarted', jobId, at: at(seconds) },
        );
      const running = start(item({ hostTrouble: silent }), 'f', 600);
      const result = { outcome: 'succeeded' as const, epoch: 2 };
      const failedOver = next(running, { type: 'jobEnded', jobId: 'f', at: at(620), result });
      const committing = start(failedOver, 'c', 640);
      expect(reasons(committing, 641)).not.toContainEqual(expect.stringContaining('AgentNotAnswering'));
      expect(healthOf(committing, at(641))).toBe('Warning');
      // A failover that was given up leaves it where it runs.
      const givenUp = { ...result, outcome: 'failed' as const };
      const stays = next(running, { type: 'jobEnded', jobId: 'f', at: at(620), result: givenUp });
      expect(reasons(stays, 621)).toContain('Critical AgentNotAnswering');
    },
  );

  it('raises no alert while a healthy VM is being protected', () => {
    const seeding = started(item({ phase: 'Seeding' }), 5);
    expect(healthOf(seeding, at(6))).toBe('Warning');
    expect(alertedHealthOf(seeding, at(6))).toBe('Normal');
    const failing = next(seeding, { type: 'jobProgressed', jobId: 'j', at: at(7), retry: retryOf('StoreFull', 7) });
    expect(alertedHealthOf(failing, at(8))).toBe('Warning');
    expect(alertedHealthOf(failing, at(200))).toBe('Critical');
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

  it('nothing changes before it, and something does at it', () => {
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

  it("leads through every change of a VM's life, one after the other", () => {
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
        // One for a failure, one for the last send, one for cycles that are overdue.
        expect(looks).toBeLessThanOrEqual(3);
        expect(told(life.item, toIso(toMs(now) + 10 * 86_400_000))).toEqual(told(life.item, now));
      }),
    );
  });
});

it('the RPO counts from the seal time of the newest durable cycle, while the VM runs at home', () => {
  expect(rpoSeconds(item({}), at(10))).toBeUndefined();
  expect(rpoSeconds(item({ shipped: shipped(10) }), at(40))).toBe(30);
  expect(rpoSeconds(item({ shipped: shipped(10) }), at(5))).toBe(0);
  expect(rpoSeconds(item({ shipped: shipped(10), activeSide: 'recovery' }), at(40))).toBeUndefined();
});
