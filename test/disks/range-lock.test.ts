import fc from 'fast-check';
import { expect, test } from 'vitest';
import { overlaps, type Range } from '../../domain/ranges.js';
import { RangeLock } from '../../disks/range-lock.js';
import { settleAll } from '../../disks/settle-all.js';

test('overlapping ranges are never held together, and all waiters get their turn', async () => {
  const range = fc.record({ offset: fc.nat(20), length: fc.integer({ min: 1, max: 6 }) });
  const holder = fc.record({
    ranges: fc.array(range, { minLength: 1, maxLength: 3 }),
    mode: fc.constantFrom('shared' as const, 'exclusive' as const),
    turns: fc.nat(4),
  });
  await fc.assert(
    fc.asyncProperty(fc.array(holder, { maxLength: 25 }), async (holders) => {
      const lock = new RangeLock();
      const held = new Set<{ ranges: readonly Range[]; mode: string }>();
      let served = 0;
      await Promise.all(
        holders.map(({ ranges, mode, turns }) =>
          lock.with(ranges, mode, async () => {
            for (const other of held) {
              const both = ranges.some((a) => other.ranges.some((b) => overlaps(a, b)));
              expect(both && !(mode === 'shared' && other.mode === 'shared')).toBe(false);
            }
            const entry = { ranges, mode };
            held.add(entry);
            for (let turn = 0; turn < turns; turn += 1) await Promise.resolve();
            held.delete(entry);
            served += 1;
          }),
        ),
      );
      expect(served).toBe(holders.length);
    }),
  );
});

test('a shared holder does not overtake an exclusive one that waits', async () => {
  const lock = new RangeLock();
  const all = [{ offset: 0, length: 10 }];
  const order: string[] = [];
  const release = await lock.acquire(all, 'shared');
  const exclusive = lock.with(all, 'exclusive', () => Promise.resolve(void order.push('exclusive')));
  const late = lock.with(all, 'shared', () => Promise.resolve(void order.push('late')));
  await lock.with([{ offset: 10, length: 5 }], 'exclusive', () => Promise.resolve(void order.push('elsewhere')));
  release();
  await Promise.all([exclusive, late]);
  expect(order).toEqual(['elsewhere', 'exclusive', 'late']);
});

test('the lock is released once a failed action has finished, and not before', async () => {
  const lock = new RangeLock();
  const range = [{ offset: 0, length: 1 }];
  let stillWriting = true;
  const slow = new Promise<void>((resolve) => {
    setImmediate(() => {
      stillWriting = false;
      resolve();
    });
  });
  const failing = lock.with(range, 'exclusive', () => settleAll([Promise.reject(new Error('full')), slow]));
  const next = lock.with(range, 'exclusive', () => Promise.resolve(stillWriting));
  await expect(failing).rejects.toThrow('full');
  expect(await next).toBe(false);
});
