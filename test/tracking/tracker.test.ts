import { mkdir, mkdtemp, open, readdir, readFile, rm, stat, truncate, writeFile } from 'node:fs/promises';
import { execFile } from 'node:child_process';
import { cpSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { randomBytes } from 'node:crypto';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { VirtualDisk } from '../../disks/disk.js';
import { RawDisk } from '../../disks/raw.js';
import { allRanges, applyChanges } from '../support/change-sets.js';
import { ChangeLog, logPath } from '../../tracking/change-log.js';
import { decodeHeader, slotPosition } from '../../tracking/change-log-format.js';
import { encodeRecordHeader } from '../../tracking/change-log-record.js';
import { openLogChangeSet } from '../../tracking/log-change-set.js';
import { Tracker } from '../../tracking/tracker.js';
import type { ChangeSet, Cut } from '../../ports/change-source.js';

const MIB = 1024 * 1024;
const BOOT = '11111111-2222-3333-4444-555555555555';
const OTHER_BOOT = '99999999-2222-3333-4444-555555555555';

let folder: string;
const warnings: string[] = [];
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'farshore-tracker-'));
  warnings.length = 0;
});
afterEach(() => rm(folder, { recursive: true, force: true }));

const pathOf = (name: string) => join(folder, `${name}.img`);

async function makeDisks(names: string[], size: number): Promise<void> {
  for (const name of names) await writeFile(pathOf(name), Buffer.alloc(size));
}

async function load(
  names: string[],
  options: { bootId?: string; floor?: number; wrap?: (disk: VirtualDisk) => VirtualDisk } = {},
) {
  const disks = await Promise.all(
    names.map(async (name) => {
      const chain = await RawDisk.open(pathOf(name));
      return { name, path: pathOf(name), chain: options.wrap?.(chain) ?? chain };
    }),
  );
  return Tracker.load('vm-1', disks, {
    bootId: options.bootId ?? BOOT,
    freeSpaceFloor: options.floor ?? 0,
    warn: (message) => warnings.push(message),
  });
}

/** The process is gone: nothing is closed in order. */
async function kill(tracker: Tracker): Promise<void> {
  for (const disk of tracker.disks) {
    await disk.log?.abandon();
    disk.log = undefined;
    await disk.chain.close();
  }
}

async function shutDown(tracker: Tracker): Promise<void> {
  for (const disk of tracker.disks) await disk.flush();
  await tracker.close();
  for (const disk of tracker.disks) await disk.chain.close();
}

const changesOf = (cut: Cut): Promise<ChangeSet> =>
  openLogChangeSet(
    cut.disks.map(({ name, size, token, lastWrite }) => ({
      path: join(folder, token),
      vm: cut.vm,
      disk: name,
      diskSize: size,
      epoch: cut.epoch,
      sequence: cut.sequence,
      lastWrite,
    })),
  );

/** Brings plain copies of the disks forward by one cut. */
const apply = async (cut: Cut, copies: Map<string, Buffer>): Promise<void> =>
  applyChanges(await changesOf(cut), copies);

const hrlFiles = async () => (await readdir(folder)).filter((name) => name.endsWith('.hrl')).sort();

describe('tracker', () => {
  it('describes the whole difference across cuts, overlapping and unaligned writes, and zeroes', async () => {
    const size = 4 * MIB;
    await makeDisks(['a', 'b'], size);
    const tracker = await load(['a', 'b']);
    await tracker.disks[0]!.write(randomBytes(size), 0);
    const copies = new Map([
      ['a', await readFile(pathOf('a'))],
      ['b', await readFile(pathOf('b'))],
    ]);
    await tracker.start(1);
    let before: Cut | undefined;
    for (let sequence = 1; sequence <= 6; sequence += 1) {
      const writes: Promise<void>[] = [];
      for (let i = 0; i < 40; i += 1) {
        const disk = tracker.disks[i % 2]!;
        const offset = Math.floor(Math.random() * (size - 70_000));
        const length = 1 + Math.floor(Math.random() * 70_000);
        writes.push(i % 5 === 0 ? disk.writeZeroes({ offset, length }) : disk.write(randomBytes(length), offset));
      }
      const cutting = tracker.cut({ epoch: 1, sequence }, false);
      await Promise.all(writes);
      const cut = await cutting;
      await apply(cut, copies);
      if (before) await tracker.releaseCuts(before);
      before = cut;
      if (tracker.resyncCause) throw new Error(tracker.resyncCause);
    }
    await apply(await tracker.cut({ epoch: 1, sequence: 7 }, true), copies);
    for (const name of ['a', 'b']) expect((await readFile(pathOf(name))).equals(copies.get(name)!)).toBe(true);
    await shutDown(tracker);
  });

  it('logs a large write in pieces whose numbers continue across cuts', async () => {
    await makeDisks(['a'], 16 * MIB);
    const tracker = await load(['a']);
    await tracker.start(3);
    const content = randomBytes(5 * MIB + 512);
    await tracker.disks[0]!.write(content, 512);
    const first = await tracker.cut({ epoch: 3, sequence: 1 }, false);
    expect(first.disks[0]!.lastWrite).toBe(6);
    await tracker.disks[0]!.write(Buffer.alloc(512, 1), 0);
    const second = await tracker.cut({ epoch: 3, sequence: 2 }, false);
    expect(second.disks[0]!.lastWrite).toBe(7);
    const changes = await changesOf(first);
    const ranges = await allRanges(changes.disks[0]!);
    expect(ranges.map((range) => range.length)).toEqual([4 * MIB, MIB + 512]);
    const whole = await Promise.all(ranges.map((range) => changes.disks[0]!.read(range, range)));
    expect(Buffer.concat(whole).equals(content)).toBe(true);
    // A range of four records, in pieces that begin and end within them.
    const [first4] = ranges;
    for (const [offset, length] of [
      [512, 512],
      [MIB, 2 * MIB],
      [MIB - 512, MIB + 1536],
      [3 * MIB + 512, MIB],
    ] as const) {
      const part = await changes.disks[0]!.read(first4!, { offset, length });
      expect(part.equals(content.subarray(offset - 512, offset - 512 + length))).toBe(true);
    }
    await changes.close();
    await shutDown(tracker);
  });

  it('answers a repeated cut with the same cut, even after a restart, and refuses any other', async () => {
    await makeDisks(['a', 'b'], MIB);
    let tracker = await load(['a', 'b']);
    await expect(tracker.cut({ epoch: 1, sequence: 1 }, false)).rejects.toMatchObject({ code: 'ResyncRequired' });
    await tracker.start(2);
    await tracker.start(2);
    await tracker.disks[1]!.write(Buffer.alloc(512, 7), 1024);
    const cut = await tracker.cut({ epoch: 2, sequence: 1 }, true);
    expect(cut).toMatchObject({ final: true, disks: [{ lastWrite: 0 }, { lastWrite: 1 }] });
    expect(await tracker.cut({ epoch: 2, sequence: 1 }, false)).toEqual(cut);
    await kill(tracker);
    tracker = await load(['a', 'b']);
    expect(await tracker.cut({ epoch: 2, sequence: 1 }, false)).toEqual(cut);
    await expect(tracker.cut({ epoch: 2, sequence: 3 }, false)).rejects.toMatchObject({ code: 'OutOfSequence' });
    await expect(tracker.cut({ epoch: 1, sequence: 2 }, false)).rejects.toMatchObject({ code: 'StaleEpoch' });
    await expect(tracker.start(1)).rejects.toMatchObject({ code: 'StaleEpoch' });
    await tracker.releaseCuts(cut);
    await expect(tracker.cut({ epoch: 2, sequence: 1 }, false)).rejects.toMatchObject({ code: 'OutOfSequence' });
    await expect(changesOf(cut)).rejects.toMatchObject({ code: 'LogBroken' });
    await tracker.stop();
    expect(await hrlFiles()).toEqual([]);
    await kill(tracker);
  });

  it('keeps the order of overlapping writes that arrive while the disk is slow', async () => {
    await makeDisks(['a'], MIB);
    const order: number[] = [];
    const tracker = await load(['a'], {
      wrap: (disk) => slowedDown(disk, (data) => order.push(data[0]!)),
    });
    await tracker.start(1);
    const disk = tracker.disks[0]!;
    const copies = new Map([['a', await readFile(pathOf('a'))]]);
    await Promise.all([1, 2, 3, 4, 5].map((value) => disk.write(Buffer.alloc(4096, value), 2048 * (value % 2))));
    expect(order).toEqual([1, 2, 3, 4, 5]);
    await apply(await tracker.cut({ epoch: 1, sequence: 1 }, false), copies);
    expect((await readFile(pathOf('a'))).equals(copies.get('a')!)).toBe(true);
    await shutDown(tracker);
  });

  it('replays writes that were logged but not performed, and drops a torn tail', async () => {
    await makeDisks(['a'], MIB);
    let tracker = await load(['a']);
    await tracker.start(1);
    await tracker.disks[0]!.write(Buffer.alloc(512, 1), 0);
    const log = tracker.disks[0]!.log!;
    // In the log, not on the disk: the process died between the two.
    const record = log.append({ offset: 512, length: 512 }, Buffer.alloc(512, 2));
    await record.appended;
    await kill(tracker);
    const torn = encodeRecordHeader({ kind: 'data', number: 3, offset: 1024, length: 512, dataCrc: 0 });
    await appendTo(log.path, Buffer.concat([torn, Buffer.alloc(100, 3)]));
    tracker = await load(['a']);
    expect(tracker.state).toMatchObject({ epoch: 1, openSequence: 1, lastWrites: { a: 2 } });
    const content = await readFile(pathOf('a'));
    expect([content[0], content[512], content[1024]]).toEqual([1, 2, 0]);
    await tracker.disks[0]!.write(Buffer.alloc(512, 4), 1024);
    const copies = new Map([['a', Buffer.alloc(MIB)]]);
    const cut = await tracker.cut({ epoch: 1, sequence: 1 }, false);
    expect(cut.disks[0]!.lastWrite).toBe(3);
    await apply(cut, copies);
    expect((await readFile(pathOf('a'))).equals(copies.get('a')!)).toBe(true);
    await kill(tracker);
  });

  it.each([
    ['a byte less', (length: number) => length - 1, false],
    ['a record less', (length: number) => length - 40 - 512, false],
    ['nothing left but the header', () => 4096, false],
    ['less than is on the disk for certain', () => 4096 + 100, true],
  ])('is marked when a log has lost what was acknowledged: %s', async (_, length, settled) => {
    await makeDisks(['a', 'b'], MIB);
    let tracker = await load(['a', 'b']);
    await tracker.start(1);
    for (const disk of tracker.disks)
      for (let i = 0; i < 3; i += 1) await disk.write(Buffer.alloc(512, i + 1), i * 512);
    // The header says by now that all of it is on the disk.
    if (settled) await tracker.disks[1]!.log!.persistFirstWrite();
    await kill(tracker);
    const path = logPath(pathOf('b'), 1, 1);
    await truncate(path, length((await stat(path)).size));
    tracker = await load(['a', 'b']);
    expect(tracker.state?.resyncCause).toMatch(/records up to \d+ are missing/);
    await kill(tracker);
  });

  it('keeps a mark that a damaged header has lost', async () => {
    await makeDisks(['a', 'b'], MIB);
    let tracker = await load(['a', 'b']);
    await tracker.start(1);
    await tracker.disks[0]!.write(Buffer.alloc(512, 1), 0);
    await tracker.mark('a test');
    await kill(tracker);
    for (const name of ['a', 'b']) {
      const path = logPath(pathOf(name), 1, 1);
      const { generation } = decodeHeader((await readFile(path)).subarray(0, 4096))!;
      await writeAt(path, slotPosition(generation) + 30, Buffer.from([0xff]));
    }
    tracker = await load(['a', 'b']);
    expect(tracker.state?.resyncCause).toBe('a test');
    await kill(tracker);
    // Not marked, for all that can be read of it.
    await rm(folder, { recursive: true });
    await mkdir(folder);
    await makeDisks(['a'], MIB);
    tracker = await load(['a']);
    await tracker.start(1);
    await tracker.disks[0]!.log!.persistFirstWrite();
    await kill(tracker);
    const path = logPath(pathOf('a'), 1, 1);
    await writeAt(path, slotPosition(1) + 30, Buffer.from([0xff]));
    tracker = await load(['a']);
    expect(tracker.state?.resyncCause).toContain('one of the two slots of its header is damaged');
    await kill(tracker);
  });

  it('continues a log of a version that did not store where its records end', async () => {
    await makeDisks(['a'], MIB);
    let tracker = await load(['a']);
    await tracker.start(1);
    const log = tracker.disks[0]!.log!;
    delete (log.header as { appended?: number }).appended;
    await log.persistFirstWrite();
    await log.persistFirstWrite();
    await tracker.disks[0]!.write(Buffer.alloc(512, 1), 0);
    await kill(tracker);
    for (const value of [2, 3]) {
      tracker = await load(['a']);
      expect(tracker.state).toMatchObject({ openSequence: 1, lastWrites: { a: value - 1 } });
      expect(tracker.state?.resyncCause).toBeUndefined();
      await tracker.disks[0]!.write(Buffer.alloc(512, value), 0);
      await kill(tracker);
    }
    tracker = await load(['a']);
    const copies = new Map([['a', Buffer.alloc(MIB)]]);
    await apply(await tracker.cut({ epoch: 1, sequence: 1 }, false), copies);
    expect(copies.get('a')![0]).toBe(3);
    expect(tracker.disks[0]!.log!.header.appended).toBe(4096);
    await kill(tracker);
  });

  it('recovers when a cut dies halfway', async () => {
    await makeDisks(['a', 'b'], MIB);
    let tracker = await load(['a', 'b']);
    await tracker.start(1);
    await tracker.disks[0]!.write(Buffer.alloc(512, 1), 0);
    await kill(tracker);
    const identity = { vm: 'vm-1', diskSize: MIB, epoch: 1, sequence: 2, bootId: BOOT, createdAt: 1_700_000_000_000 };
    const opened = { openedByFinalCut: true, firstWrite: 0 };
    // The next log of one disk only: the cut did not happen.
    await (await ChangeLog.create(logPath(pathOf('b'), 1, 2), { ...identity, ...opened, disk: 'b' })).abandon();
    tracker = await load(['a', 'b']);
    expect(tracker.state).toMatchObject({ openSequence: 1, lastWrites: { a: 1, b: 0 } });
    expect(tracker.state?.resyncCause).toBeUndefined();
    expect(await hrlFiles()).toHaveLength(2);
    await kill(tracker);
    // Of both disks: it did, and a write had joined already, which overlaps one of the log before.
    const a = await ChangeLog.create(logPath(pathOf('a'), 1, 2), { ...identity, ...opened, disk: 'a' });
    await (await ChangeLog.create(logPath(pathOf('b'), 1, 2), { ...identity, ...opened, disk: 'b' })).abandon();
    a.switchTo(2, 1_700_000_000_000);
    await a.append({ offset: 0, length: 512 }, Buffer.alloc(512, 2)).appended;
    await a.abandon();
    tracker = await load(['a', 'b']);
    expect(tracker.state).toMatchObject({ openSequence: 2, lastWrites: { a: 2, b: 0 } });
    expect((await readFile(pathOf('a')))[0]).toBe(2);
    const cut = await tracker.cut({ epoch: 1, sequence: 1 }, false);
    expect(cut).toMatchObject({
      final: true,
      sealedAt: '2023-11-14T22:13:20.000Z',
      disks: [{ lastWrite: 1 }, { lastWrite: 0 }],
    });
    const copies = new Map([
      ['a', Buffer.alloc(MIB)],
      ['b', Buffer.alloc(MIB)],
    ]);
    await apply(cut, copies);
    expect(copies.get('a')![0]).toBe(1);
    await apply(await tracker.cut({ epoch: 1, sequence: 2 }, false), copies);
    expect(copies.get('a')![0]).toBe(2);
    await kill(tracker);
  });

  it.each(['before', 'after'] as const)(
    'tells the instant of a cut that was killed right %s the switch',
    async (when) => {
      await makeDisks(['a', 'b'], MIB);
      const tracker = await load(['a', 'b']);
      await tracker.start(1);
      await tracker.disks[0]!.write(Buffer.alloc(512, 1), 0);
      const kept = await mkdtemp(join(tmpdir(), 'farshore-tracker-'));
      const [lived, times] = [folder, { lastWrite: 0, switched: 0 }];
      await tracker.cut({ epoch: 1, sequence: 1 }, false, {
        async before() {
          // The next logs are there. A good while later a guest writes once more.
          await sleep(20);
          await tracker.disks[1]!.write(Buffer.alloc(512, 2), 512);
          times.lastWrite = Date.now();
          await sleep(5);
          if (when === 'before') cpSync(folder, kept, { recursive: true });
        },
        after() {
          times.switched = Date.now();
          if (when === 'after') cpSync(folder, kept, { recursive: true });
        },
      });
      await kill(tracker);
      folder = kept;
      try {
        const again = await load(['a', 'b']);
        const cut = await again.cut({ epoch: 1, sequence: 1 }, false);
        expect(cut.disks.map(({ lastWrite }) => lastWrite)).toEqual([1, 1]);
        const at = Date.parse(cut.sealedAt);
        expect(at).toBeGreaterThanOrEqual(times.lastWrite);
        if (when === 'after') expect(at).toBeLessThanOrEqual(times.switched);
        await kill(again);
      } finally {
        await rm(kept, { recursive: true, force: true });
        folder = lived;
      }
    },
  );

  it('replays the next log from its beginning if the previous one is replayed', async () => {
    await makeDisks(['a'], MIB);
    let tracker = await load(['a']);
    await tracker.start(1);
    await tracker.disks[0]!.write(Buffer.alloc(512, 1), 0);
    await kill(tracker);
    const identity = { vm: 'vm-1', disk: 'a', diskSize: MIB, epoch: 1, sequence: 2, bootId: BOOT, createdAt: 1 };
    const next = await ChangeLog.create(logPath(pathOf('a'), 1, 2), {
      ...identity,
      openedByFinalCut: false,
      firstWrite: 0,
    });
    next.switchTo(2, 1);
    const record = next.append({ offset: 0, length: 512 }, Buffer.alloc(512, 2));
    await record.appended;
    // Its watermark is ahead, the older log's is behind: the older write must not end up on top.
    next.settle(record);
    await next.persistFirstWrite();
    await next.abandon();
    tracker = await load(['a']);
    expect((await readFile(pathOf('a')))[0]).toBe(2);
    await kill(tracker);
  });

  it('is marked after the loss of the machine, and only then', async () => {
    await makeDisks(['a'], MIB);
    let tracker = await load(['a']);
    await tracker.start(1);
    await tracker.disks[0]!.write(Buffer.alloc(512, 1), 0);
    await shutDown(tracker);
    tracker = await load(['a'], { bootId: OTHER_BOOT });
    expect(tracker.state).toEqual({ epoch: 1, openSequence: 1, lastWrites: { a: 1 } });
    await kill(tracker);
    tracker = await load(['a'], { bootId: BOOT });
    expect(tracker.state?.resyncCause).toBe('the host restarted while a change log was open');
    await kill(tracker);
    // The same machine as at first: the mark stays.
    tracker = await load(['a'], { bootId: OTHER_BOOT });
    await expect(tracker.cut({ epoch: 1, sequence: 1 }, false)).rejects.toMatchObject({ code: 'ResyncRequired' });
    await tracker.start(2);
    expect(tracker.state).toEqual({ epoch: 2, openSequence: 1, lastWrites: { a: 0 } });
    expect(await hrlFiles()).toEqual(['a.img.0002-00000001.hrl']);
    await kill(tracker);
  });

  it.each([
    ['its header is gone', async (path: string) => writeAt(path, 0, Buffer.alloc(4096))],
    ['it belongs to another VM', (path: string) => copyOfOtherVm(path)],
    ['a bit of a record is flipped', async (path: string) => writeAt(path, 4096 + 60, Buffer.from([0xff]))],
    ['it is gone', (path: string) => rm(path)],
  ])('is marked when a log cannot be used: %s', async (_, damage) => {
    await makeDisks(['a', 'b'], MIB);
    let tracker = await load(['a', 'b']);
    await tracker.start(1);
    for (const disk of tracker.disks) await disk.write(Buffer.alloc(8192, 1), 0);
    await kill(tracker);
    await damage(logPath(pathOf('b'), 1, 1));
    for (let restart = 0; restart < 2; restart += 1) {
      tracker = await load(['a', 'b']);
      expect(tracker.state?.resyncCause).toBeTruthy();
      await tracker.disks[1]!.write(Buffer.alloc(8192, 2), 0);
      await kill(tracker);
    }
    expect((await readFile(pathOf('b')))[0]).toBe(2);
  });

  it('leaves files alone that only have the name of a log, whatever epoch their name contains', async () => {
    await makeDisks(['a', 'b'], MIB);
    let tracker = await load(['a', 'b']);
    await tracker.start(3);
    await tracker.disks[0]!.write(Buffer.alloc(512, 1), 0);
    await kill(tracker);
    const strays = [
      '99999999999999999999-00000001',
      '4000000000-00000001',
      '0004-99999999999999999999',
      '00005-00000001',
    ];
    for (const stray of strays) await writeFile(`${pathOf('a')}.${stray}.hrl`, randomBytes(10_000));
    // That of another VM, as a folder that was copied here has it.
    await copyOfOtherVm(logPath(pathOf('b'), 77, 1));
    await mkdir(logPath(pathOf('b'), 78, 1));
    await promisify(execFile)('mkfifo', [logPath(pathOf('b'), 79, 1)]);
    tracker = await load(['a', 'b']);
    expect(tracker.state).toEqual({ epoch: 3, openSequence: 1, lastWrites: { a: 1, b: 0 } });
    await tracker.disks[0]!.write(Buffer.alloc(512, 2), 0);
    await tracker.cut({ epoch: 3, sequence: 1 }, false);
    await kill(tracker);
    for (const stray of strays) await stat(`${pathOf('a')}.${stray}.hrl`);
  });

  it('stops at half the size of the disk, frees the space, and the guest keeps running', async () => {
    await makeDisks(['a', 'b'], 4 * MIB);
    let tracker = await load(['a', 'b']);
    await tracker.start(1);
    const data = randomBytes(256 * 1024);
    for (let i = 0; i < 4; i += 1) await tracker.disks[1]!.write(data, i * data.length);
    await tracker.cut({ epoch: 1, sequence: 1 }, false);
    for (let i = 0; i < 12; i += 1) await tracker.disks[1]!.write(data, i * data.length);
    expect(tracker.resyncCause).toContain('50 %');
    await expect(tracker.cut({ epoch: 1, sequence: 2 }, false)).rejects.toMatchObject({ code: 'ResyncRequired' });
    await kill(tracker);
    tracker = await load(['a', 'b']);
    expect(tracker.resyncCause).toContain('50 %');
    expect((await readFile(pathOf('b'))).subarray(11 * data.length, 12 * data.length).equals(data)).toBe(true);
    for (const name of await hrlFiles()) expect((await stat(join(folder, name))).size).toBe(4096);
    await kill(tracker);
  });

  it('stops if the free space falls below the floor', async () => {
    await makeDisks(['a'], 64 * MIB);
    const tracker = await load(['a'], { floor: Number.MAX_SAFE_INTEGER });
    await expect(tracker.start(1)).rejects.toMatchObject({ code: 'SourceDiskFull' });
    expect(await hrlFiles()).toEqual([]);
    await kill(tracker);
  });

  it('stores a failed append before the guest gets its answer, and the guest keeps running', async () => {
    await makeDisks(['a', 'b'], MIB);
    let tracker = await load(['a', 'b']);
    await tracker.start(1);
    const log = tracker.disks[0]!.log!;
    // Appends fail from here on, as on a full volume; the header is written with `write` of one buffer just as well.
    const writev = log.handle.writev.bind(log.handle);
    log.handle.writev = ((buffers, position) =>
      (position ?? 0) >= 4096
        ? Promise.reject(Object.assign(new Error('ENOSPC: no space left'), { code: 'ENOSPC' }))
        : writev(buffers, position)) as typeof log.handle.writev;
    await tracker.disks[0]!.write(Buffer.alloc(512, 5), 0);
    expect((await readFile(pathOf('a')))[0]).toBe(5);
    await kill(tracker);
    tracker = await load(['a', 'b']);
    expect(tracker.resyncCause).toContain('ENOSPC');
    await kill(tracker);
  });

  it('stores a failed disk write, which the guest is told of', async () => {
    await makeDisks(['a'], MIB);
    let broken = false;
    let tracker = await load(['a'], {
      wrap: (disk) =>
        slowedDown(disk, () => {
          if (broken) throw Object.assign(new Error('EIO'), { code: 'EIO' });
        }),
    });
    await tracker.start(1);
    broken = true;
    await expect(tracker.disks[0]!.write(Buffer.alloc(512, 5), 0)).rejects.toThrow('EIO');
    await kill(tracker);
    tracker = await load(['a']);
    expect(tracker.resyncCause).toContain('EIO');
    await kill(tracker);
  });

  it('stores a failed flush of a disk, which the guest is told of', async () => {
    await makeDisks(['a', 'b'], MIB);
    let tracker = await load(['a', 'b'], {
      wrap: (disk) => ({ ...slowedDown(disk, () => undefined), flush: () => Promise.reject(new Error('EIO')) }),
    });
    await tracker.start(1);
    await tracker.disks[1]!.write(Buffer.alloc(512, 5), 0);
    await expect(tracker.disks[1]!.flush()).rejects.toThrow('EIO');
    await kill(tracker);
    tracker = await load(['a', 'b']);
    expect(tracker.resyncCause).toBe('disk b could not be flushed: EIO');
    await kill(tracker);
  });

  it('is marked if a sync of a log has failed once, however often it succeeded later', async () => {
    await makeDisks(['a'], MIB);
    let tracker = await load(['a']);
    await tracker.start(1);
    await tracker.disks[0]!.write(Buffer.alloc(512, 5), 0);
    const { handle } = tracker.disks[0]!.log!;
    const datasync = handle.datasync.bind(handle);
    handle.datasync = () => {
      handle.datasync = datasync;
      return Promise.reject(Object.assign(new Error('EIO'), { code: 'EIO' }));
    };
    await expect(tracker.close()).rejects.toThrow('EIO');
    await kill(tracker);
    tracker = await load(['a']);
    expect(tracker.resyncCause).toBe('a change log could not be flushed to disk: EIO');
    await kill(tracker);
  });

  it('notices a bit that flips after the log was indexed', async () => {
    await makeDisks(['a'], MIB);
    const tracker = await load(['a']);
    await tracker.start(1);
    await tracker.disks[0]!.write(randomBytes(64 * 1024), 0);
    await tracker.disks[0]!.write(randomBytes(512), 4096);
    const cut = await tracker.cut({ epoch: 1, sequence: 1 }, false);
    const changes = await changesOf(cut);
    const path = join(folder, cut.disks[0]!.token);
    const byte = (await readFile(path))[4096 + 40 + 60_000]!;
    await writeAt(path, 4096 + 40 + 60_000, Buffer.from([byte ^ 1]));
    // The first range is another part of the same record.
    const [first] = await allRanges(changes.disks[0]!);
    await expect(changes.disks[0]!.read(first!, first!)).rejects.toMatchObject({ code: 'LogBroken' });
    await changes.close();
    await expect(changesOf(cut)).rejects.toMatchObject({ code: 'LogBroken' });
    await shutDown(tracker);
  });
});

function slowedDown(disk: VirtualDisk, before: (data: Buffer) => void): VirtualDisk {
  return {
    size: disk.size,
    read: (target, offset) => disk.read(target, offset),
    dataRanges: (range) => disk.dataRanges(range),
    writeZeroes: (range) => disk.writeZeroes(range),
    flush: () => disk.flush(),
    close: () => disk.close(),
    write: async (data, offset) => {
      await new Promise((resolve) => setTimeout(resolve, 10 - 2 * data[0]!));
      before(data);
      await disk.write(data, offset);
    },
  };
}

async function writeAt(path: string, position: number, data: Buffer): Promise<void> {
  const handle = await open(path, 'r+');
  await handle.write(data, 0, data.length, position);
  await handle.close();
}

async function appendTo(path: string, data: Buffer): Promise<void> {
  await writeAt(path, (await stat(path)).size, data);
}

async function copyOfOtherVm(path: string): Promise<void> {
  const identity = { vm: 'vm-2', disk: 'b', diskSize: MIB, epoch: 1, sequence: 1, bootId: BOOT, createdAt: 1 };
  await (await ChangeLog.create(path, { ...identity, openedByFinalCut: false, firstWrite: 1 })).abandon();
  expect(dirname(path)).toBe(folder);
}
