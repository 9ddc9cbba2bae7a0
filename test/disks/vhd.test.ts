import { randomBytes } from 'node:crypto';
import { appendFile, copyFile, mkdtemp, open, readFile, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { openDisk } from '../../disks/open-disk.js';
import { createFixedVhd, fixedVhdFooter, parseVhdFooter } from '../../disks/vhd.js';
import { requireReader, runReader } from '../support/readers.js';

const MiB = 2 ** 20;
let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'farshore-vhd-'));
});
afterEach(() => rm(folder, { recursive: true }));

const id = Buffer.from('00112233445566778899aabbccddeeff', 'hex');

describe('footer', () => {
  test('is the same for the same arguments, and is read back unchanged', () => {
    const footer = fixedVhdFooter(2040 * 2 ** 30, id);
    expect(footer.equals(fixedVhdFooter(2040 * 2 ** 30, id))).toBe(true);
    expect(parseVhdFooter(footer)).toEqual({ size: 2040 * 2 ** 30, creator: 'win ', uniqueId: id });
  });

  test('any flipped bit is noticed', () => {
    for (let byte = 0; byte < 512; byte += 1) {
      const footer = fixedVhdFooter(64 * MiB, id);
      footer[byte]! ^= 0x10;
      expect(() => parseVhdFooter(footer), `byte ${byte}`).toThrow(expect.objectContaining({ code: 'BrokenChain' }));
    }
  });
});

describe('together with qemu-img', () => {
  beforeEach((context) => requireReader('qemu-img', context));

  test.for([3 * MiB, 512, 131 * MiB + 512, 150 * 2 ** 30])(
    'qemu-img reads our VHD of %i bytes completely',
    async (size) => {
      const vhd = join(folder, 'ours.vhd');
      const raw = join(folder, 'ours.raw');
      await createFixedVhd(vhd, size);
      await writeFile(raw, '');
      await truncate(raw, size);
      const disk = await openDisk(vhd, 'vhd');
      const rawDisk = await openDisk(raw, 'raw');
      const data = randomBytes(Math.min(size, 65536));
      for (const offset of [0, size - data.length]) {
        await disk.write(data, offset);
        await rawDisk.write(data, offset);
      }
      await Promise.all([disk.close(), rawDisk.close()]);
      const info = await runReader('qemu-img', 'info', '-f', 'vpc', '--output=json', vhd);
      expect(JSON.parse(info)).toMatchObject({ 'virtual-size': size });
      await runReader('qemu-img', 'compare', '-f', 'vpc', '-F', 'raw', vhd, raw);
    },
  );

  test.for(['fixed,force_size', 'fixed'])('we read a VHD made by qemu-img (%s) completely', async (subformat) => {
    const raw = join(folder, 'theirs.raw');
    const vhd = join(folder, 'theirs.vhd');
    const content = randomBytes(5 * MiB);
    await writeFile(raw, content);
    await runReader('qemu-img', 'convert', '-f', 'raw', '-O', 'vpc', '-o', `subformat=${subformat}`, raw, vhd);
    const disk = await openDisk(vhd, 'vhd', { readOnly: true });
    // Without force_size qemu rounds up to the next size that cylinders, heads and sectors can express.
    expect(disk.size).toBeGreaterThanOrEqual(content.length);
    expect(disk.size).toBe((await readFile(vhd)).length - 512);
    const read = Buffer.alloc(content.length);
    await disk.read(read, 0);
    expect(read.equals(content)).toBe(true);
    await disk.close();
  });

  test.for(['3M', '10M', '100M', '1G', '127G', '200G'])('a disk of %s has the geometry qemu gives it', async (size) => {
    const vhd = join(folder, 'geometry.vhd');
    await runReader('qemu-img', 'create', '-q', '-f', 'vpc', '-o', 'subformat=fixed', vhd, size);
    const file = await open(vhd);
    const theirs = Buffer.alloc(512);
    await file.read(theirs, 0, 512, (await file.stat()).size - 512);
    await file.close();
    const ours = fixedVhdFooter(parseVhdFooter(theirs).size, id);
    expect(ours.subarray(56, 60)).toEqual(theirs.subarray(56, 60));
  });

  test('a dynamic VHD is refused with the reason', async () => {
    const vhd = join(folder, 'dynamic.vhd');
    await runReader('qemu-img', 'create', '-q', '-f', 'vpc', '-o', 'subformat=dynamic', vhd, '10M');
    await expect(openDisk(vhd, 'vhd')).rejects.toThrow(/only fixed VHDs/);
  });
});

test('truncated, grown and missing VHD files are distinguished', async () => {
  const whole = join(folder, 'whole.vhd');
  await createFixedVhd(whole, MiB);
  const cut = join(folder, 'cut.vhd');
  await copyFile(whole, cut);
  await truncate(cut, MiB);
  const grown = join(folder, 'grown.vhd');
  await copyFile(whole, grown);
  await appendFile(grown, fixedVhdFooter(MiB, id));
  await expect(openDisk(cut, 'vhd')).rejects.toMatchObject({ code: 'BrokenChain' });
  await expect(openDisk(grown, 'vhd')).rejects.toMatchObject({ code: 'BrokenChain' });
  await expect(openDisk(join(folder, 'none.vhd'), 'vhd')).rejects.toMatchObject({ code: 'DiskMissing' });
});

test('the footer is out of reach of the disk', async () => {
  const path = join(folder, 'disk.vhd');
  await createFixedVhd(path, MiB);
  const disk = await openDisk(path, 'vhd');
  await expect(disk.write(Buffer.alloc(1024), MiB - 512)).rejects.toThrow(RangeError);
  await disk.writeZeroes({ offset: 0, length: MiB });
  expect(await disk.dataRanges({ offset: 0, length: 2 * MiB })).toEqual([]);
  await disk.close();
  expect(parseVhdFooter((await readFile(path)).subarray(MiB)).size).toBe(MiB);
});
