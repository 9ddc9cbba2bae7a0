import { expect, test } from 'vitest';
import { deferred } from '../../tracking/deferred.js';
import { Semaphore } from '../../concurrency/semaphore.js';

/** Work that goes on until it is told to end, and notes that it began. */
function pieces(slots: Semaphore, began: string[]) {
  return (name: string, signal?: AbortSignal) => {
    const end = deferred<void>();
    const done = slots.run(async () => {
      began.push(name);
      await end.promise;
      return name;
    }, signal);
    done.catch(() => undefined);
    return { done, end: end.resolve, fail: end.reject };
  };
}

test('runs as many as allowed, then in order of arrival, whether or not earlier ones failed', async () => {
  const slots = new Semaphore(2);
  const began: string[] = [];
  const begin = pieces(slots, began);
  const [a, b, c, d, e] = ['a', 'b', 'c', 'd', 'e'].map((name) => begin(name));
  expect([began, slots.busy]).toEqual([['a', 'b'], true]);
  b!.fail(new Error('failed'));
  await expect(b!.done).rejects.toThrow('failed');
  expect(began).toEqual(['a', 'b', 'c']);
  a!.end();
  expect(await a!.done).toBe('a');
  expect(began).toEqual(['a', 'b', 'c', 'd']);
  for (const { end } of [c!, d!, e!]) end();
  expect(await Promise.all([c!.done, d!.done, e!.done])).toEqual(['c', 'd', 'e']);
  expect(slots.busy).toBe(false);
});

test('a cancelled waiter gets its error immediately and leaves no gap; running work is not affected', async () => {
  const slots = new Semaphore(1);
  const began: string[] = [];
  const begin = pieces(slots, began);
  const [working, waiting] = [new AbortController(), new AbortController()];
  const a = begin('a', working.signal);
  const b = begin('b', waiting.signal);
  const c = begin('c');
  waiting.abort(new Error('not wanted'));
  await expect(b.done).rejects.toThrow('not wanted');
  working.abort(new Error('too late'));
  a.end();
  expect(await a.done).toBe('a');
  c.end();
  expect(await c.done).toBe('c');
  expect([began, slots.busy]).toEqual([['a', 'c'], false]);
  await expect(begin('d', waiting.signal).done).rejects.toThrow('not wanted');
  expect(slots.busy).toBe(false);
});
