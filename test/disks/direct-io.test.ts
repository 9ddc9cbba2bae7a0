import { randomBytes } from 'node:crypto';
import { open, readFile, truncate, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import {
  alignedBuffer,
  fitsDirectIo,
  openDirect,
  readDirect,
  readPastCache,
  writeDirect,
} from '../../disks/direct-io.js';
import { temporaryFolder } from '../support/temporary-folder.js';

const KiB = 1024;

test('only large requests that are aligned in every respect qualify', () => {
  const buffer = alignedBuffer(256 * KiB);
  expect(buffer.length).toBe(256 * KiB);
  expect(fitsDirectIo(buffer, 8 * KiB)).toBe(true);
  expect(fitsDirectIo(buffer.subarray(4 * KiB), 0)).toBe(true);
  expect(fitsDirectIo(buffer, 512)).toBe(false);
  expect(fitsDirectIo(buffer.subarray(512), 0)).toBe(false);
  expect(fitsDirectIo(buffer.subarray(0, 128 * KiB + 512), 0)).toBe(false);
  expect(fitsDirectIo(buffer.subarray(0, 32 * KiB), 0)).toBe(false);
});

// A folder in memory is the file system that knows least of it.
test.each([undefined, '/dev/shm'])(
  'data written directly can be read through the cache, and the reverse (%s)',
  async (at) => {
    const file = path.join(await temporaryFolder(at), 'file');
    await writeFile(file, '');
    await truncate(file, 1024 * KiB + 512);
    const writer = await openDirect(file, 'write');
    const reader = await openDirect(file, 'read');
    const data = alignedBuffer(256 * KiB);
    randomBytes(data.length).copy(data);
    const ordinary = await open(file, 'r+');
    onTestFinished(async () => {
      for (const handle of [ordinary, writer, reader]) await handle?.close();
    });
    if (!writer || !reader || !(await writeDirect(writer, data, 512 * KiB))) return;
    expect((await readFile(file)).subarray(512 * KiB, 768 * KiB).equals(data)).toBe(true);
    const other = randomBytes(100);
    await ordinary.write(other, 0, 100, 600 * KiB);
    const target = alignedBuffer(256 * KiB);
    expect(await readDirect(reader, target, 512 * KiB)).toBe(256 * KiB);
    other.copy(data, 88 * KiB);
    expect(target.equals(data)).toBe(true);
  },
);

test('a file that is not there is an error, not a refusal', async () => {
  await expect(openDirect(path.join(await temporaryFolder(), 'none'), 'read')).rejects.toThrow('ENOENT');
});

test.each([undefined, '/dev/shm'])('a direct read fills as much as it can, for any length (%s)', async (at) => {
  const file = path.join(await temporaryFolder(at), 'file');
  const content = randomBytes(1024 * KiB + 777);
  await writeFile(file, content);
  const isPossible = (await readPastCache(file, Buffer.alloc(100), 0)) > 0;
  for (const [position, length] of [
    [0, 100],
    [0, 1024 * KiB + 777],
    [512 * KiB, 512 * KiB + 777],
    [1024 * KiB, 777],
    [4 * KiB, 256 * KiB],
    [4 * KiB, 60 * KiB + 1],
  ] as const) {
    for (const target of [alignedBuffer(length), alignedBuffer(length + 1).subarray(1)]) {
      const filled = await readPastCache(file, target, position);
      expect(filled).toBe(isPossible ? length : 0);
      expect(target.subarray(0, filled).equals(content.subarray(position, position + filled))).toBe(true);
    }
  }
  expect(await readPastCache(file, Buffer.alloc(100), 512)).toBe(0);
  expect(await readPastCache(file, alignedBuffer(2048 * KiB), 0)).toBe(isPossible ? 1024 * KiB + 777 : 0);
});
