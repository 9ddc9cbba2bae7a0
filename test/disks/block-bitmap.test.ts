import { mkdtemp, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { BlockBitmap, type BlockRun } from '../../disks/block-bitmap.js';

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'farshore-bitmap-'));
});
afterEach(() => rm(folder, { recursive: true }));

async function collect(runs: AsyncGenerator<BlockRun>): Promise<number[]> {
  const blocks: number[] = [];
  for await (const run of runs) for (let i = 0; i < run.count; i += 1) blocks.push(run.start + i);
  return blocks;
}

test('agrees with a plain array after any sequence of changes, also after it is opened again', async () => {
  const blocks = 3000;
  const run = fc
    .tuple(fc.nat(blocks - 1), fc.nat(600))
    .map(([start, count]) => ({ start, count: Math.min(count, blocks - start) }));
  const change = fc.record({ run, value: fc.boolean() });
  let file = 0;
  await fc.assert(
    fc.asyncProperty(
      fc.array(change, { maxLength: 12 }),
      run,
      fc.constantFrom(0, 4096),
      async (changes, within, headerBytes) => {
        const path = join(folder, String((file += 1)));
        const model = new Uint8Array(blocks);
        const bitmap = await BlockBitmap.open(path, blocks, { headerBytes });
        // Not awaited one by one: neighbouring runs share bytes.
        await Promise.all(
          changes.map(({ run: { start, count }, value }) => {
            model.fill(value ? 1 : 0, start, start + count);
            return value ? bitmap.set({ start, count }) : bitmap.clear({ start, count });
          }),
        );
        await bitmap.close();
        const again = await BlockBitmap.open(path, blocks, { headerBytes });
        const expected = [...model.keys()].filter(
          (block) => model[block] === 1 && block >= within.start && block < within.start + within.count,
        );
        expect(await collect(again.setRuns(within))).toEqual(expected);
        expect(await again.count(within)).toBe(expected.length);
        expect([...(await again.read(within))]).toEqual([...model.slice(within.start, within.start + within.count)]);
        await again.close();
      },
    ),
    { numRuns: 60 },
  );
});

test('is sparse, and scans only set bits, for a disk of 64 TiB', async () => {
  const path = join(folder, 'large');
  const bitmap = await BlockBitmap.open(path, 2 ** 30);
  await bitmap.set({ start: 2 ** 29 + 5, count: 3 });
  await bitmap.set({ start: 2 ** 30 - 1, count: 1 });
  expect((await stat(path)).blocks * 512).toBeLessThanOrEqual(16384);
  expect(await collect(bitmap.setRuns())).toEqual([2 ** 29 + 5, 2 ** 29 + 6, 2 ** 29 + 7, 2 ** 30 - 1]);
  expect(await bitmap.isSet(2 ** 29 + 5)).toBe(true);
  expect(await bitmap.isSet(2 ** 29 + 4)).toBe(false);
  await bitmap.close();
});

test("two bitmaps on one file see each other's changes immediately", async () => {
  const path = join(folder, 'shared');
  const a = await BlockBitmap.open(path, 100);
  const b = await BlockBitmap.open(path, 100);
  await a.set({ start: 10, count: 20 });
  expect(await b.count()).toBe(20);
  await b.clear({ start: 0, count: 15 });
  expect(await a.count()).toBe(15);
  await Promise.all([a.close(), b.close()]);
});

test('refuses blocks it does not have', async () => {
  const bitmap = await BlockBitmap.open(join(folder, 'small'), 9);
  await expect(async () => bitmap.set({ start: 8, count: 2 })).rejects.toThrow('not within the 9');
  await bitmap.close();
});
