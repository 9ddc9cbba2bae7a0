import { spawn } from 'node:child_process';
import { mkdtemp, open, rm, type FileHandle } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { LockTimeout, dataRanges, lockFile, punchHole, tryLockFile, unlockFile } from '../../disks/native.js';

const GiB = 2 ** 30;
let folder: string;
const handles: FileHandle[] = [];

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'farshore-native-'));
});
afterEach(async () => {
  await Promise.all(handles.splice(0).map((handle) => handle.close()));
  await rm(folder, { recursive: true });
});

async function openFile(name: string): Promise<FileHandle> {
  const handle = await open(join(folder, name), 'a+').then(async (created) => {
    await created.close();
    return open(join(folder, name), 'r+');
  });
  handles.push(handle);
  return handle;
}

describe('file locks', () => {
  test('exclude other descriptors, can be shared, and end with unlock', async () => {
    const a = await openFile('lock');
    const b = await openFile('lock');
    expect(tryLockFile(a.fd, 'shared')).toBe(true);
    expect(tryLockFile(b.fd, 'shared')).toBe(true);
    unlockFile(b.fd);
    expect(tryLockFile(b.fd, 'exclusive')).toBe(false);
    unlockFile(a.fd);
    expect(tryLockFile(b.fd, 'exclusive')).toBe(true);
    expect(tryLockFile(a.fd, 'shared')).toBe(false);
  });

  test('waiting ends with LockTimeout, or as soon as the holder releases the lock', async () => {
    const a = await openFile('lock');
    const b = await openFile('lock');
    await lockFile(a.fd, 'exclusive');
    await expect(lockFile(b.fd, 'shared', { timeoutMs: 20 })).rejects.toThrow(LockTimeout);
    const waiting = lockFile(b.fd, 'exclusive');
    unlockFile(a.fd);
    await waiting;
    expect(tryLockFile(a.fd, 'shared')).toBe(false);
  });

  test('are seen by other processes, and end with their own', async () => {
    const a = await openFile('lock');
    // A process group of its own: the lock lives in the descriptor that `sleep` inherited as well.
    const holder = spawn('flock', ['-x', join(folder, 'lock'), 'sh', '-c', 'echo held; exec sleep 60'], {
      detached: true,
    });
    await new Promise<void>((resolve) => holder.stdout.once('data', () => resolve()));
    expect(tryLockFile(a.fd, 'shared')).toBe(false);
    const gone = new Promise((resolve) => holder.once('close', resolve));
    process.kill(-holder.pid!, 'SIGKILL');
    await gone;
    await lockFile(a.fd, 'exclusive', { timeoutMs: 10_000 });
  });

  test('a closed descriptor is an error with its code, not "held by another"', async () => {
    expect(() => tryLockFile(999_999, 'shared')).toThrow(expect.objectContaining({ code: 'EBADF' }));
  });
});

describe('sparse files', () => {
  test('data is found past 4 GiB, and only there', async () => {
    const file = await openFile('sparse');
    await file.truncate(20 * GiB);
    const block = Buffer.alloc(65536, 7);
    await file.write(block, 0, block.length, 5 * GiB);
    await file.write(block, 0, block.length, 17 * GiB + 65536);
    expect(dataRanges(file.fd, { offset: 0, length: 20 * GiB })).toEqual([
      { offset: 5 * GiB, length: 65536 },
      { offset: 17 * GiB + 65536, length: 65536 },
    ]);
    expect(dataRanges(file.fd, { offset: 5 * GiB + 512, length: 1024 })).toEqual([
      { offset: 5 * GiB + 512, length: 1024 },
    ]);
    expect(dataRanges(file.fd, { offset: 6 * GiB, length: GiB })).toEqual([]);
    expect(dataRanges(file.fd, { offset: 19 * GiB, length: 4 * GiB })).toEqual([]);
  });

  test('a punched hole past 4 GiB reads as zeroes and frees its space', async () => {
    const file = await openFile('holes');
    const block = Buffer.alloc(1 << 20, 9);
    await file.write(block, 0, block.length, 6 * GiB);
    const before = await file.stat();
    expect(await punchHole(file.fd, { offset: 6 * GiB + 65536, length: 131072 })).toBe(true);
    const after = await file.stat();
    expect(after.size).toBe(before.size);
    expect(after.blocks).toBe(before.blocks - 131072 / 512);
    expect(dataRanges(file.fd, { offset: 0, length: after.size })).toEqual([
      { offset: 6 * GiB, length: 65536 },
      { offset: 6 * GiB + 196608, length: (1 << 20) - 196608 },
    ]);
    const read = Buffer.alloc(131072, 1);
    await file.read(read, 0, read.length, 6 * GiB + 65536);
    expect(read.equals(Buffer.alloc(131072))).toBe(true);
  });

  test('a real failure is reported, not mistaken for "unsupported"', async () => {
    await expect(punchHole(999_999, { offset: 0, length: 4096 })).rejects.toMatchObject({ code: 'EBADF' });
    expect(() => dataRanges(999_999, { offset: 0, length: 4096 })).toThrow(expect.objectContaining({ code: 'EBADF' }));
  });
});
