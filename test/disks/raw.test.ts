import { mkdtemp, open, readFile, rm, stat, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { openDisk } from '../../disks/open-disk.js';
import { RawDisk } from '../../disks/raw.js';
import { blockDevice } from '../support/block-device.js';

let folder: string;
let path: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'farshore-raw-'));
  path = join(folder, 'disk.raw');
});
afterEach(() => rm(folder, { recursive: true }));

async function create(size: number): Promise<RawDisk> {
  await writeFile(path, '');
  await truncate(path, size);
  return RawDisk.open(path);
}

test('agrees with a buffer after any writes and zeroes, and names every range that is not zero', async () => {
  const size = 1 << 20;
  const step = fc.record({
    offset: fc.nat(size / 512 - 1).map((sector) => sector * 512),
    sectors: fc.integer({ min: 1, max: 300 }),
    fill: fc.nat(255),
    zero: fc.boolean(),
  });
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 10 }), async (steps) => {
      const disk = await create(size);
      const model = Buffer.alloc(size);
      for (const { offset, sectors, fill, zero } of steps) {
        const length = Math.min(sectors * 512, size - offset);
        model.fill(zero ? 0 : fill, offset, offset + length);
        if (zero) await disk.writeZeroes({ offset, length });
        else await disk.write(Buffer.alloc(length, fill), offset);
      }
      await disk.flush();
      const content = Buffer.alloc(size, 0xee);
      await disk.read(content, 0);
      expect(content.equals(model)).toBe(true);
      for (const { offset, length } of await disk.dataRanges({ offset: 0, length: size }))
        model.fill(0, offset, offset + length);
      expect(model.equals(Buffer.alloc(size))).toBe(true);
      await disk.close();
    }),
    { numRuns: 40 },
  );
});

test('zeroing frees the space', async () => {
  const disk = await create(4 << 20);
  await disk.write(Buffer.alloc(4 << 20, 1), 0);
  await disk.flush();
  await disk.writeZeroes({ offset: 1 << 20, length: 2 << 20 });
  expect((await stat(path)).blocks * 512).toBe(2 << 20);
  await disk.close();
});

test('does not reach past its end', async () => {
  const disk = await create(1024);
  await expect(disk.write(Buffer.alloc(1024), 512)).rejects.toThrow(RangeError);
  await expect(disk.read(Buffer.alloc(1024), 512)).rejects.toThrow(RangeError);
  await expect(disk.writeZeroes({ offset: 512, length: 1024 })).rejects.toThrow(RangeError);
  expect((await stat(path)).size).toBe(1024);
  await disk.close();
});

test('reports problems as errors of the catalogue', async () => {
  await expect(openDisk(join(folder, 'none'), 'raw')).rejects.toMatchObject({ code: 'DiskMissing' });
  await expect(openDisk(folder, 'raw')).rejects.toMatchObject({ code: 'BrokenChain' });
  await writeFile(path, Buffer.alloc(700));
  await expect(openDisk(path, 'raw')).rejects.toMatchObject({ code: 'BrokenChain' });
  const disk = await create(8192);
  await truncate(path, 4096);
  await expect(disk.read(Buffer.alloc(8192), 0)).rejects.toMatchObject({ code: 'BrokenChain' });
  await disk.close();
});

test('a full volume is SourceDiskFull', async () => {
  const file = await open('/dev/full', 'r+');
  const disk = new RawDisk(file, '/dev/full', 4096);
  await expect(disk.write(Buffer.alloc(512), 0)).rejects.toMatchObject({ code: 'SourceDiskFull' });
  await disk.close();
});

test('opened for reading, it cannot be written', async () => {
  await (await create(4096)).close();
  const disk = await openDisk(path, 'raw', { readOnly: true });
  await expect(disk.write(Buffer.alloc(512), 0)).rejects.toMatchObject({ code: 'EBADF' });
  await disk.close();
});

test('a block device is read, written and zeroed like a file', async (context) => {
  const image = join(folder, 'image');
  const expected = Buffer.alloc(1024 * 1024, 7);
  await writeFile(image, expected);
  const device = await blockDevice(image, context);
  const disk = await RawDisk.open(device);
  expect(disk.size).toBe(expected.length);
  const change = async (offset: number, data: Buffer) => {
    await disk.write(data, offset);
    data.copy(expected, offset);
  };
  await change(512, Buffer.alloc(1024, 1));
  await change(expected.length - 512, Buffer.alloc(512, 2));
  // Of whole pages of the system, and of sectors only.
  for (const range of [
    { offset: 8192, length: 65_536 },
    { offset: 100 * 1024 + 512, length: 1536 },
  ]) {
    await disk.writeZeroes(range);
    expected.fill(0, range.offset, range.offset + range.length);
  }
  await disk.flush();
  const content = Buffer.alloc(expected.length);
  await disk.read(content, 0);
  expect(content.equals(expected)).toBe(true);
  const ranges = await disk.dataRanges({ offset: 0, length: disk.size });
  expect(ranges.some(({ offset, length }) => offset <= 512 && offset + length >= 1536)).toBe(true);
  await expect(disk.write(Buffer.alloc(512), disk.size)).rejects.toThrow(RangeError);
  await disk.close();
  expect((await readFile(image)).equals(expected)).toBe(true);
});
