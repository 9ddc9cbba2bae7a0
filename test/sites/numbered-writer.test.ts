import fc from 'fast-check';
import { expect, test } from 'vitest';
import {
  NUMBERED_BLOCK_BYTES,
  NumberedWriter,
  numberedBlock,
  verifyNumbered,
} from '../../sites/nbd/numbered-writer.js';

class MemoryDisk {
  readonly bytes = Buffer.alloc(64 * NUMBERED_BLOCK_BYTES);
  flushes = 0;
  write(data: Buffer, offset: number): Promise<void> {
    data.copy(this.bytes, offset);
    return Promise.resolve();
  }
  read(target: Buffer, offset: number): Promise<void> {
    this.bytes.copy(target, 0, offset);
    return Promise.resolve();
  }
  flush(): Promise<void> {
    this.flushes += 1;
    return Promise.resolve();
  }
}

const region = { offset: 4 * NUMBERED_BLOCK_BYTES, length: 10 * NUMBERED_BLOCK_BYTES };

test('finds the written prefix, however often the region was rewritten', async () => {
  const disk = new MemoryDisk();
  const writer = new NumberedWriter(disk, 'db-01/os', region);
  for (let number = 0; number <= 37; number += 1) {
    expect(await verifyNumbered(disk, 'db-01/os', region)).toEqual({ last: number, faults: [] });
    await writer.writeNext();
  }
  expect(disk.bytes.subarray(0, region.offset).equals(Buffer.alloc(region.offset))).toBe(true);
  const resumed = await NumberedWriter.resume(disk, 'db-01/os', region);
  expect(await resumed.writeNext()).toBe(39);
});

test('flushes as often as it is told, and knows which blocks are flushed', async () => {
  const disk = new MemoryDisk();
  const writer = new NumberedWriter(disk, 'd', region);
  await writer.run(() => writer.acknowledged < 10, { flushEvery: 4 });
  expect([disk.flushes, writer.flushed, writer.acknowledged]).toEqual([2, 8, 10]);
});

test('any single block that is lost, old, torn, of another disk or from the future is found', async () => {
  const slots = region.length / NUMBERED_BLOCK_BYTES;
  const arbitrary = fc.record({
    last: fc.integer({ min: 2, max: 45 }),
    victim: fc.nat(slots - 1),
    damage: fc.constantFrom('lost', 'older', 'torn', 'foreign', 'bit', 'skipped'),
  });
  await fc.assert(
    fc.asyncProperty(arbitrary, async ({ last, victim, damage }) => {
      const disk = new MemoryDisk();
      const writer = new NumberedWriter(disk, 'd', region);
      while (writer.acknowledged < last) await writer.writeNext();
      const at = region.offset + victim * NUMBERED_BLOCK_BYTES;
      const block = disk.bytes.subarray(at, at + NUMBERED_BLOCK_BYTES);
      const number = Number(block.readBigUInt64LE(8));
      // The newest block lost is the disk as it was one write earlier: nothing is wrong with that one, unless the
      // block before it in this place is gone with it.
      fc.pre(number > 0 && number < last);
      if (damage === 'lost') block.fill(0);
      if (damage === 'older') {
        if (number > slots) numberedBlock(number - slots, 'd').copy(block);
        else block.fill(0);
      }
      if (damage === 'torn') numberedBlock(number + slots, 'd').copy(block, 2048, 2048);
      if (damage === 'foreign') numberedBlock(number, 'e').copy(block);
      if (damage === 'bit') block[3000]! ^= 1;
      if (damage === 'skipped') numberedBlock(last + slots + 1, 'd').copy(block);
      expect((await verifyNumbered(disk, 'd', region)).faults.length).toBeGreaterThan(0);
    }),
    { numRuns: 200 },
  );
});
