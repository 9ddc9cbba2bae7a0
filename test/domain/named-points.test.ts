import { describe, expect, test } from 'vitest';
import { tagRefusal, tagRequestOf, tagSchema, tagsOfCycle } from '../../domain/named-points.js';
import { policySchema } from '../../domain/policy.js';
import { newProtectedItem, protectedItemSchema, type ProtectedItem } from '../../domain/protected-item.js';
import { next, type ItemEvent } from '../../domain/transitions.js';

const at = '2026-01-01T00:00:00.000Z';
const start: ProtectedItem = {
  ...newProtectedItem({
    ...{ vault: 'vault', vm: 'db-01', host: 'host-1', vmmServer: 'vmm-1' },
    policy: policySchema.parse({ name: 'p' }),
  }),
  ...{ phase: 'Protected', epoch: 1, nextSequence: 7, cycleDueAt: at },
};
const after = (...events: ItemEvent[]): ProtectedItem => events.reduce(next, start);
const asked = (name: string): ItemEvent => ({
  ...{ type: 'cycleRequested', at },
  tag: { name, requestId: `request-${name}` },
});
const begun: ItemEvent = { type: 'cycleBegun' };
const shipped = (sequence: number): ItemEvent => ({
  type: 'cycleShipped',
  cycle: { sequence, sealedAt: at, bytes: 0 },
});
const applied = (sequence: number, namedPoints: { tag: string; id: string }[] = []): ItemEvent => ({
  ...{ type: 'cycleApplied', at, namedPoints },
  cycle: { sequence, sealedAt: at, bytes: 0 },
});
const tagsOf = (item: ProtectedItem) => tagsOfCycle(item, { epoch: item.epoch, sequence: item.nextSequence });

describe('the name of a recovery point', () => {
  test('is given to the next cycle that begins', () => {
    const item = after(asked('a'));
    expect(tagsOf(item)).toEqual(['a']);
    expect(tagsOf(next(item, begun))).toEqual(['a']);
    // Once it is sent the cycle has the name, done again or not.
    const sent = after(asked('a'), begun, shipped(7));
    expect(tagsOf(sent)).toEqual([]);
    expect(sent.namedPoints).toEqual([{ tag: 'a', id: '0001-00000007' }]);
    const done = next(sent, applied(7, [{ tag: 'a', id: '0001-00000007' }]));
    expect(done.namedPoints).toEqual(sent.namedPoints);
    // The point has gone with the retention.
    expect([begun, shipped(8), applied(8)].reduce(next, done).namedPoints).toEqual([]);
    expect(protectedItemSchema.parse(done)).toEqual(done);
  });

  test('requested during a cycle, is given to the cycle after it', () => {
    const item = after(begun, asked('a'));
    expect(item.requestedSequence).toBe(8);
    expect(tagsOf(item)).toEqual([]);
    expect(tagsOf(next(item, applied(7)))).toEqual(['a']);
  });

  test('two names for one cycle both go to its point', () => {
    expect(tagsOf(after(asked('a'), asked('b')))).toEqual(['a', 'b']);
  });

  test("if a job makes the cycle instead, is given to the job's cycle", () => {
    const request = { requestId: 'r', jobId: 'job', kind: 'plannedFailover' } as const;
    const waiting = after(asked('a'), { type: 'jobRequested', request }, { type: 'jobStarted', jobId: 'job', at });
    const cycle = { sequence: 7, sealedAt: at, bytes: 0 };
    const ended = (result: Extract<ItemEvent, { type: 'jobEnded' }>['result']) =>
      next(waiting, { type: 'jobEnded', jobId: 'job', at, result });
    expect(tagsOf(ended({ outcome: 'succeeded', epoch: 2, cycle }))).toEqual([]);
    // It failed before it made one: the next cycle has the name, whatever the epoch is by then.
    expect(tagsOf(ended({ outcome: 'failed' }))).toEqual(['a']);
    expect(tagsOf({ ...ended({ outcome: 'failed' }), epoch: 2, nextSequence: 1 })).toEqual(['a']);
  });

  test('during a resynchronization, is given to the first cycle of the new epoch', () => {
    const request = { requestId: 'r', jobId: 'job', kind: 'resynchronize' } as const;
    const items = after(begun, asked('a'), { type: 'jobRequested', request }, { type: 'jobStarted', jobId: 'job', at });
    expect(tagsOfCycle(items, { epoch: 2, sequence: 1 })).toEqual(['a']);
    const result = { outcome: 'succeeded', epoch: 2, cycle: { sequence: 1, sealedAt: at, bytes: 0 } } as const;
    const resynchronized = next(items, { type: 'jobEnded', jobId: 'job', at, result });
    expect(tagsOf(resynchronized)).toEqual([]);
    expect(resynchronized.namedPoints).toEqual([{ tag: 'a', id: '0002-00000001' }]);
  });

  test('is used once, for existing points and for one that is being made', () => {
    expect(tagRefusal(start, 'a')).toBeUndefined();
    expect(tagRefusal(after(asked('a')), 'a')).toContain('being made');
    const there = after(asked('a'), begun, shipped(7), applied(7, [{ tag: 'a', id: '0001-00000007' }]));
    expect(tagRefusal(there, 'a')).toContain('0001-00000007 already has the name a');
    expect(tagRefusal(there, 'b')).toBeUndefined();
    // The point has gone with the retention: the name is free.
    const gone = [begun, shipped(8), applied(8)].reduce(next, there);
    expect(tagRefusal(gone, 'a')).toBeUndefined();
    expect(tagRequestOf(gone, 'request-a')).toMatchObject({ sequence: 7, done: true });
  });

  test('there are at most a hundred, and open requests are never forgotten', () => {
    const many = after(...Array.from({ length: 100 }, (_, index) => asked(`t-${index}`)));
    expect(tagRefusal(many, 'one-more')).toContain('100');
    expect(tagsOf(many)).toHaveLength(100);
    const done = [begun, shipped(7), applied(7), asked('again')].reduce(next, many);
    expect(done.tagRequests).toHaveLength(21);
  });

  test.each(['a b', '../x', '', '0001-00000007', 'latest', 'latest-processed', 'x'.repeat(64)])(
    '%j is no name',
    (name) => {
      expect(tagSchema.safeParse(name).success).toBe(false);
    },
  );
});
