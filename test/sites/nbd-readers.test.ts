import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdtemp, readFile, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { RawDisk } from '../../disks/raw.js';
import { CatalogueError } from '../../domain/errors.js';
import { NbdGuest } from '../../sites/nbd/guest.js';
import type { NbdExport } from '../../sites/nbd/nbd-export.js';
import { NbdServer } from '../../sites/nbd/nbd-server.js';
import { requireReader, runReader } from '../support/readers.js';

const MiB = 2 ** 20;
const SIZE = 32 * MiB;
let folder: string;
let disk: RawDisk;
let server: NbdServer;
const unexpected: unknown[] = [];

const exportOf = (raw: RawDisk): NbdExport => ({
  size: raw.size,
  read: (target, offset) => raw.read(target, offset),
  write: async (data, offset, { fua }) => {
    await raw.write(data, offset);
    if (fua) await raw.flush();
  },
  writeZeroes: (range) => raw.writeZeroes(range),
  flush: () => raw.flush(),
});

async function createRaw(name: string, content?: Buffer): Promise<string> {
  const path = join(folder, name);
  await writeFile(path, content ?? '');
  await truncate(path, SIZE);
  return path;
}

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'farshore-nbd-'));
  disk = await RawDisk.open(await createRaw('disk'));
});
afterEach(async () => {
  await server.close();
  await disk.close();
  await rm(folder, { recursive: true });
  expect(unexpected.splice(0)).toEqual([]);
});

const places = ['unix socket', 'TCP'] as const;
async function listen(place: (typeof places)[number]): Promise<void> {
  const where = place === 'TCP' ? { host: '127.0.0.1', port: 0 } : { socketPath: join(folder, 'nbd.sock') };
  server = await NbdServer.listen(where, { report: (error) => unexpected.push(error) });
  server.addExport('db-01.os', exportOf(disk));
}

describe.for(places)('over a %s', (place) => {
  beforeEach(() => listen(place));

  test('nbdinfo finds the exports and their capabilities', async (context) => {
    requireReader('nbdinfo', context);
    server.addExport('db-01.data', { ...exportOf(disk), readOnly: true });
    const listed = JSON.parse(await runReader('nbdinfo', '--json', '--list', server.uri(''))) as {
      exports: Record<string, unknown>[];
    };
    const common = { 'export-size': SIZE, can_multi_conn: true, can_flush: true, block_size_minimum: 512 };
    expect(listed.exports).toEqual([
      expect.objectContaining({
        ...common,
        'export-name': 'db-01.os',
        is_read_only: false,
        can_fua: true,
        can_trim: true,
      }),
      expect.objectContaining({ ...common, 'export-name': 'db-01.data', is_read_only: true, can_trim: false }),
    ]);
    await expect(runReader('nbdinfo', server.uri('none'))).rejects.toThrow(/No such file/);
  });

  test('nbdcopy fills a disk and empties it again', async (context) => {
    requireReader('nbdcopy', context);
    const content = randomBytes(SIZE);
    content.fill(0, 4 * MiB, 9 * MiB);
    const source = await createRaw('source', content);
    await runReader('nbdcopy', '--connections=4', '--flush', source, server.uri('db-01.os'));
    expect((await readFile(disk.path)).equals(content)).toBe(true);
    const back = await createRaw('back');
    await runReader('nbdcopy', '--connections=4', server.uri('db-01.os'), back);
    expect((await readFile(back)).equals(content)).toBe(true);
  });

  test('our guest reads what qemu-io writes, and the other way round', async (context) => {
    requireReader('qemu-io', context);
    const uri = server.uri('db-01.os');
    const guest = await NbdGuest.connect(uri);
    expect(guest.size).toBe(SIZE);
    const ours = randomBytes(64 * 1024);
    await guest.write(Buffer.alloc(MiB, 0x5a), 8 * MiB, { fua: true });
    await guest.write(ours, 20 * MiB);
    await guest.flush();
    const printed = await runReader(
      'qemu-io',
      ...['-f', 'raw', '-t', 'none'],
      ...['-c', 'read -P 0x5a 8M 1M'],
      ...['-c', 'write -P 0x77 1M 3M', '-c', 'write -f -P 0x78 5M 4k', '-c', 'write -z 2M 64k', '-c', 'discard 3M 64k'],
      // Smaller than a sector: qemu reads, changes and writes whole ones, as it was told the block size.
      ...['-c', 'write -P 0x79 6291556 100', '-c', 'flush'],
      uri,
    );
    expect(printed).not.toMatch(/failed|Pattern/);
    const expected = Buffer.alloc(8 * MiB);
    expected
      .fill(0x77, MiB, 4 * MiB)
      .fill(0, 2 * MiB, 2 * MiB + 65536)
      .fill(0, 3 * MiB, 3 * MiB + 65536);
    expected.fill(0x78, 5 * MiB, 5 * MiB + 4096).fill(0x79, 6291556, 6291656);
    const read = Buffer.alloc(8 * MiB);
    await guest.read(read, 0);
    expect(read.equals(expected)).toBe(true);
    const reread = Buffer.alloc(ours.length);
    await guest.read(reread, 20 * MiB);
    expect(reread.equals(ours)).toBe(true);
    await guest.trim({ offset: 20 * MiB, length: 32768 });
    await guest.writeZeroes({ offset: 20 * MiB + 32768, length: 512 });
    await guest.read(reread, 20 * MiB);
    expect(reread.equals(Buffer.concat([Buffer.alloc(33280), ours.subarray(33280)]))).toBe(true);
    await guest.close();
  });

  test('fio finds every block again after many parallel random writes', async (context) => {
    requireReader('fio', context);
    await promisify(execFile)(
      'fio',
      [
        ...[
          '--name=verify',
          '--ioengine=nbd',
          `--uri=${server.uri('db-01.os')}`,
          '--rw=randwrite',
          '--bsrange=512-128k',
        ],
        ...[
          '--bs_unaligned=0',
          '--blockalign=512',
          '--iodepth=32',
          `--size=${SIZE}`,
          '--verify=crc32c',
          '--verify_fatal=1',
        ],
        ...['--do_verify=1', '--fsync=50', '--randrepeat=0'],
      ],
      { cwd: folder },
    );
  });
});

test('qemu-img reads the bytes of the file through our server', async (context) => {
  requireReader('qemu-img', context);
  await listen('unix socket');
  await disk.write(randomBytes(5 * MiB), 3 * MiB);
  await runReader('qemu-img', 'compare', '-f', 'raw', '-F', 'raw', disk.path, server.uri('db-01.os'));
});

test('a guest gets an error from a full volume and from a broken one', async (context) => {
  requireReader('qemu-io', context);
  await listen('unix socket');
  const failing = (error: unknown): NbdExport => ({ ...exportOf(disk), write: () => Promise.reject(error) });
  const full = new CatalogueError('SourceDiskFull', 'no space in the pool');
  const broken = new Error('something nobody has met yet');
  server.addExport('full', failing(full));
  server.addExport('broken', failing(broken));
  const write = async (name: string) => {
    const guest = await NbdGuest.connect(server.uri(name));
    const printed = await runReader('qemu-io', '-f', 'raw', '-c', 'write 0 4k', server.uri(name)).catch(
      (error: { stdout: string; stderr: string }) => error.stdout + error.stderr,
    );
    await expect(guest.write(Buffer.alloc(512), 0)).rejects.toMatchObject({ code: name === 'full' ? 'ENOSPC' : 'EIO' });
    await guest.read(Buffer.alloc(512), 0);
    await guest.close();
    return printed;
  };
  expect(await write('full')).toMatch(/No space left on device/);
  expect(await write('broken')).toMatch(/Input\/output error/);
  expect(new Set(unexpected.splice(0))).toEqual(new Set([full, broken]));
});
