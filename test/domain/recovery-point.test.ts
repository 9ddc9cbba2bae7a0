import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { compareFences } from '../../domain/fence.js';
import {
  chooseRecoveryPoint,
  pointsToPrune,
  recoveryPointSelectorSchema,
  retentionStart,
  selectorOf,
  type RecoveryPointSelector,
  type RecoveryState,
  type SealedCycle,
} from '../../domain/recovery-point.js';
import { recoveryPointId, type RecoveryPoint } from '../../domain/vault.js';

const HOUR = 3_600_000;
const at = (ms: number) => new Date(Date.UTC(2026, 0, 1) + ms).toISOString();
const cycle = (epoch: number, sequence: number, ms = sequence): SealedCycle => ({ epoch, sequence, sealedAt: at(ms) });
const point = (epoch: number, sequence: number, more: Partial<RecoveryPoint> = {}): RecoveryPoint => ({
  id: recoveryPointId(epoch, sequence),
  ...{ vm: 'db-01', epoch, sequence, time: at(sequence), kind: 'crashConsistent', disks: [] },
  ...more,
});
/** Nothing is being written unless said otherwise. */
const state = (more: Partial<RecoveryState>): RecoveryState => ({
  ...{ vm: 'db-01', epoch: 1, applied: undefined, points: [], received: [] },
  fence: { epoch: more.epoch ?? 1, sequence: more.applied?.sequence ?? 0 },
  ...more,
});

describe('the choice of a recovery point', () => {
  const points = [point(1, 1), point(1, 2, { kind: 'appConsistent' }), point(1, 4, { tags: ['before-upgrade'] })];
  const protectedVm = state({
    applied: cycle(1, 5),
    points,
    received: [cycle(1, 8), cycle(1, 6), cycle(1, 7), cycle(1, 10)],
  });

  test('Latest: everything received is applied first, up to a gap', () => {
    const chosen = chooseRecoveryPoint({ kind: 'latest' }, protectedVm);
    expect(chosen).toEqual({
      from: 'replica',
      cycle: cycle(1, 8),
      process: [cycle(1, 6), cycle(1, 7), cycle(1, 8)],
    });
    const nothingWaits = chooseRecoveryPoint({ kind: 'latest' }, { ...protectedVm, received: [cycle(1, 5)] });
    expect(nothingWaits).toEqual({ from: 'replica', cycle: cycle(1, 5), process: [] });
  });

  test('Latest processed: the replica as it is', () => {
    const chosen = chooseRecoveryPoint({ kind: 'latestProcessed' }, protectedVm);
    expect(chosen).toEqual({ from: 'replica', cycle: cycle(1, 5), process: [] });
  });

  test('Latest app-consistent: the newest such point', () => {
    const chosen = chooseRecoveryPoint({ kind: 'latestAppConsistent' }, protectedVm);
    expect(chosen).toEqual({ from: 'point', point: points[1] });
  });

  test('Custom: by id, or by name', () => {
    for (const id of [points[2]!.id, 'before-upgrade']) {
      expect(chooseRecoveryPoint({ kind: 'custom', id }, protectedVm)).toEqual({ from: 'point', point: points[2] });
    }
  });

  test.each([
    ['Latest', { kind: 'latest' }],
    ['Latest processed', { kind: 'latestProcessed' }],
  ] as const)('%s is the newest kept point while a resynchronization is under way', (_, selector) => {
    // Complete cycles of the new epoch may lie there already; the disks are a mixture all the same.
    const fence = { epoch: 2, sequence: 0 };
    const resynchronizing = { ...protectedVm, epoch: 2, fence, received: [cycle(2, 1), cycle(2, 2)] };
    expect(chooseRecoveryPoint(selector, resynchronizing)).toEqual({ from: 'point', point: points[2] });
  });

  test('in the middle of a cycle, the replica is not a state: the cycle is completed first, or the newest kept point is chosen', () => {
    const writing = { ...protectedVm, fence: { epoch: 1, sequence: 6 } };
    expect(chooseRecoveryPoint({ kind: 'latestProcessed' }, writing)).toEqual({ from: 'point', point: points[2] });
    expect(chooseRecoveryPoint({ kind: 'latest' }, writing)).toMatchObject({ cycle: cycle(1, 8) });
    const torn = { ...writing, received: [] };
    expect(chooseRecoveryPoint({ kind: 'latest' }, torn)).toEqual({ from: 'point', point: points[2] });
  });

  test('a copy that was read back accepts the first cycle of its epoch', () => {
    const copied = { ...protectedVm, epoch: 2, fence: { epoch: 2, sequence: 1 }, received: [cycle(2, 1)] };
    expect(chooseRecoveryPoint({ kind: 'latest' }, copied)).toMatchObject({ from: 'replica', cycle: cycle(2, 1) });
    expect(chooseRecoveryPoint({ kind: 'latestProcessed' }, copied)).toEqual({ from: 'point', point: points[2] });
  });

  test('parses the selectors that an operator types', () => {
    expect(['latest', 'latest-processed', 'latest-app-consistent', 'x'].map(selectorOf)).toEqual([
      { kind: 'latest' },
      { kind: 'latestProcessed' },
      { kind: 'latestAppConsistent' },
      { kind: 'custom', id: 'x' },
    ]);
  });

  test('never chooses by time: a source clock that was set back changes nothing', () => {
    const setBack = [point(1, 3, { time: at(9 * HOUR) }), point(1, 4, { time: at(1 * HOUR) }), point(2, 1)];
    const chosen = chooseRecoveryPoint({ kind: 'latest' }, state({ epoch: 3, points: setBack }));
    expect(chosen).toEqual({ from: 'point', point: setBack[2] });
  });

  test.each([
    [
      { kind: 'latestAppConsistent' },
      [point(1, 1)],
      'has no recovery point for "Latest app-consistent"; it has 0001-00000001 (',
    ],
    [{ kind: 'custom', id: 'x' }, points, 'has no recovery point "x"; it has 0001-00000004 (before-upgrade, crashCons'],
    [{ kind: 'custom', id: 'x' }, [], 'has no recovery point "x"; it has none'],
    [{ kind: 'latest' }, [], 'it has none; the replica disks hold no complete state of epoch 1'],
  ] as [RecoveryPointSelector, RecoveryPoint[], string][])('names what is not there: %j', (selector, there, text) => {
    const error = (() => {
      try {
        return chooseRecoveryPoint(selector, state({ points: there }));
      } catch (thrown) {
        return thrown;
      }
    })();
    expect(error).toMatchObject({ code: 'RecoveryPointNotFound', detail: expect.stringContaining(text) });
    expect(error).toMatchObject({ detail: expect.stringContaining('db-01') });
  });

  test('an error names at most ten points', () => {
    const many = Array.from({ length: 25 }, (_, index) => point(1, index + 1));
    expect(() => chooseRecoveryPoint({ kind: 'custom', id: 'x' }, state({ points: many }))).toThrow(
      /0001-00000025 .* 0001-00000016 \([^)]*\) and 15 older ones/,
    );
  });

  const fences = fc.record({ epoch: fc.integer({ min: 1, max: 3 }), sequence: fc.integer({ min: 1, max: 12 }) });
  const states = fc
    .record({
      epoch: fc.integer({ min: 1, max: 3 }),
      applied: fc.option(fences, { nil: undefined }),
      received: fc.array(fences),
      points: fc.uniqueArray(
        fc.record({
          fence: fences,
          ms: fc.integer({ min: 0, max: 48 * HOUR }),
          kind: fc.constantFrom('crashConsistent', 'appConsistent'),
        }),
        { selector: ({ fence: { epoch, sequence } }) => recoveryPointId(epoch, sequence) },
      ),
    })
    .map(({ epoch, applied, received, points: made }) =>
      state({
        epoch,
        applied: applied && cycle(applied.epoch, applied.sequence),
        received: received.map((one) => cycle(one.epoch, one.sequence)),
        points: made.map(({ fence, ms, kind }) => point(fence.epoch, fence.sequence, { time: at(ms), kind })),
      }),
    );

  test('the replica is chosen only if it is a complete state, or received cycles complete it', () => {
    const kinds = fc.constantFrom('latest', 'latestProcessed');
    fc.assert(
      fc.property(states, kinds, fc.boolean(), (made, kind, begun) => {
        const isOfEpoch = made.applied?.epoch === made.epoch;
        const held = isOfEpoch ? made.applied!.sequence : 0;
        const all = { ...made, fence: { epoch: made.epoch, sequence: held + (begun ? 1 : 0) } };
        const isReceived = (sequence: number) =>
          all.received.some((one) => one.epoch === all.epoch && one.sequence === sequence);
        // Of disks that were only copied, (epoch, 1) says that they were read back.
        const following = (isOfEpoch || begun) && isReceived(held + 1);
        const usable = (isOfEpoch && !begun) || (kind === 'latest' && following);
        if (!usable && all.points.length === 0) {
          expect(() => chooseRecoveryPoint({ kind }, all)).toThrow('db-01');
          return;
        }
        const chosen = chooseRecoveryPoint({ kind }, all);
        if (chosen.from === 'point') {
          expect(usable).toBe(false);
          for (const other of all.points) expect(compareFences(other, chosen.point)).toBeLessThanOrEqual(0);
          return;
        }
        expect(usable).toBe(true);
        const sequences = chosen.process.map(({ sequence }) => sequence);
        expect(sequences).toEqual(sequences.map((_, index) => held + 1 + index));
        expect(chosen.cycle).toEqual(chosen.process.at(-1) ?? all.applied);
        if (kind === 'latest') expect(isReceived(chosen.cycle.sequence + 1)).toBe(false);
      }),
    );
  });

  test('each point is found by its id, and parsed selectors match the schema', () => {
    fc.assert(
      fc.property(states, (all) => {
        for (const wanted of all.points) {
          const selector = recoveryPointSelectorSchema.parse({ kind: 'custom', id: wanted.id });
          expect(chooseRecoveryPoint(selector, all)).toEqual({ from: 'point', point: wanted });
        }
      }),
    );
  });

  test('pruning keeps the newest point, points in use, and everything within the retention, and nothing else', () => {
    fc.assert(
      fc.property(states, fc.integer({ min: 0, max: 48 * HOUR }), fc.nat(), ({ points: all }, from, used) => {
        const retainedFrom = Date.parse(at(from));
        const keep = all.length > 0 ? [all[used % all.length]!.id] : [];
        const gone = pointsToPrune(all, { retainedFrom, keep });
        const newest = all.toSorted(compareFences).at(-1);
        for (const one of all) {
          // None is older than one before it.
          const times = all.filter((other) => compareFences(other, one) <= 0).map(({ time }) => Date.parse(time));
          const stays = one === newest || keep.includes(one.id) || Math.max(...times) >= retainedFrom;
          expect(gone.includes(one)).toBe(!stays);
        }
        // Again there is nothing left to go, and the newest app-consistent one within the retention is still there.
        const kept = all.filter((one) => !gone.includes(one));
        expect(pointsToPrune(kept, { retainedFrom, keep })).toEqual([]);
        const young = all.filter(({ kind, time }) => kind === 'appConsistent' && Date.parse(time) >= retainedFrom);
        for (const one of young) expect(kept).toContain(one);
      }),
    );
  });

  test('a retention of 0 keeps the newest point only', () => {
    const all = [point(1, 1, { time: at(0) }), point(1, 2, { time: at(HOUR) })];
    expect(pointsToPrune(all, { retainedFrom: retentionStart(at(HOUR), Date.parse(at(2 * HOUR)), 0) })).toEqual([
      all[0],
    ]);
  });

  test('points made while the source clock was behind are as young as those before them', () => {
    const all = [
      point(1, 1, { time: at(10 * HOUR) }),
      point(1, 2, { time: at(5 * HOUR) }),
      point(1, 3, { time: at(10 * HOUR + 2) }),
    ];
    expect(pointsToPrune(all, { retainedFrom: Date.parse(at(9 * HOUR)) })).toEqual([]);
    expect(pointsToPrune(all, { retainedFrom: Date.parse(at(10 * HOUR + 1)) })).toEqual(all.slice(0, 2));
    // A time that has not come yet says nothing of those that follow.
    const ahead = [point(1, 0, { time: at(1_000 * HOUR) }), ...all];
    const until = Date.parse(at(11 * HOUR));
    expect(pointsToPrune(ahead, { retainedFrom: Date.parse(at(10 * HOUR + 1)), until })).toEqual(all.slice(0, 2));
  });

  test('a source clock that jumps ahead does not delete earlier points', () => {
    const now = Date.parse(at(HOUR));
    expect(retentionStart(at(1_000 * HOUR), now, 2)).toBe(now - 2 * HOUR);
    expect(retentionStart(at(0), now, 2)).toBe(Date.parse(at(0)) - 2 * HOUR);
  });
});
