/**
 * What a machine leaves on its disk when it loses power is not what its processes wrote: of everything written to a
 * file since its last completed sync, any sectors may be there and any not. This records what an overlay does to its
 * files, makes such remains at random for random instants, and opens them.
 */
import { readlinkSync } from 'node:fs';
import { copyFile, mkdir, mkdtemp, open, rm, writeFile, type FileHandle } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, expect, test, vi } from 'vitest';
import type { ReadableDisk, VirtualDisk } from '../../disks/disk.js';
import type * as native from '../../disks/native.js';
import { OverlayDisk } from '../../disks/overlay.js';
import type * as positionalIo from '../../disks/positional-io.js';
import { RawDisk } from '../../disks/raw.js';

type Event =
  | { readonly kind: 'write'; readonly path: string; readonly position: number; readonly data: Buffer }
  | { readonly kind: 'syncStart' | 'syncEnd'; readonly path: string; readonly sync: number };

const journal = vi.hoisted(() => ({ events: [] as unknown[], on: false }));
const record = (event: Event) => void (journal.on && journal.events.push(event));
const pathOf = (fd: number) => readlinkSync(`/proc/self/fd/${fd}`);

vi.mock('../../disks/positional-io.js', async (original) => {
  const real = await original<typeof positionalIo>();
  return {
    ...real,
    writeAt: (file: FileHandle, data: Uint8Array, position: number) => {
      record({ kind: 'write', path: pathOf(file.fd), position, data: Buffer.from(data) });
      return real.writeAt(file, data, position);
    },
  };
});
vi.mock('../../disks/native.js', async (original) => {
  const real = await original<typeof native>();
  return {
    ...real,
    punchHole: (fd: number, range: { offset: number; length: number }) => {
      record({ kind: 'write', path: pathOf(fd), position: range.offset, data: Buffer.alloc(range.length) });
      return real.punchHole(fd, range);
    },
  };
});

let folder: string;
let prototype: FileHandle;
let realDatasync: FileHandle['datasync'];
beforeAll(async () => {
  const any = await open('/dev/null');
  prototype = Object.getPrototypeOf(any) as FileHandle;
  await any.close();
  realDatasync = prototype.datasync;
  let syncs = 0;
  prototype.datasync = async function (this: FileHandle) {
    const sync = (syncs += 1);
    const path = journal.on ? pathOf(this.fd) : '';
    record({ kind: 'syncStart', path, sync });
    await realDatasync.call(this);
    record({ kind: 'syncEnd', path, sync });
  };
});
afterAll(() => {
  prototype.datasync = realDatasync;
});
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'farshore-lost-'));
});
afterEach(() => rm(folder, { recursive: true }));

const BLOCK = 2048;
const SECTORS = 12 * 4 + 1;
const SIZE = SECTORS * 512;

/** A generator of numbers that gives the same ones for the same seed. */
function dice(seed: number): (sides: number) => number {
  let state = seed;
  return (sides) => {
    state = (Math.imul(state ^ (state >>> 15), 0x2c1b3c6d) + 0x9e3779b9) | 0;
    const mixed = Math.imul(state ^ (state >>> 13), 0x297a2d39);
    return ((mixed ^ (mixed >>> 16)) >>> 0) % sides;
  };
}

interface Action {
  readonly from: number;
  to: number;
  readonly write?: { readonly first: number; readonly count: number; readonly value: number };
}

async function contentOf(disk: ReadableDisk): Promise<Buffer> {
  const content = Buffer.alloc(disk.size);
  await disk.read(content, 0);
  return content;
}

/** The state of the files before anything was recorded, with what of the journal up to `instant` survived. */
async function makeRemains(
  remains: string,
  files: readonly string[],
  events: readonly Event[],
  instant: number,
  roll: (sides: number) => number,
) {
  for (const name of files) {
    await copyFile(join(folder, 'before', name), join(remains, name));
    const path = join(folder, name);
    let synced = -1;
    for (let at = 0; at < instant; at += 1) {
      const event = events[at]!;
      if (event.kind !== 'syncEnd' || event.path !== path) continue;
      synced = Math.max(
        synced,
        events.findIndex((start) => start.kind === 'syncStart' && start.sync === event.sync),
      );
    }
    const file = await open(join(remains, name), 'r+');
    const keepRate = roll(5);
    for (let at = 0; at < instant; at += 1) {
      const event = events[at]!;
      if (event.kind !== 'write' || event.path !== path) continue;
      for (let done = 0; done < event.data.length;) {
        const sectorEnd = Math.min(event.data.length, done + 512 - ((event.position + done) % 512));
        if (at < synced || roll(4) < keepRate)
          await file.write(event.data, done, sectorEnd - done, event.position + done);
        done = sectorEnd;
      }
    }
    await file.close();
  }
}

interface Base {
  /** Beside the overlay's. */
  readonly files: readonly string[];
  open(folder: string): Promise<VirtualDisk>;
}

const FILE: Base = { files: ['base'], open: (of) => RawDisk.open(join(of, 'base')) };
/** Of a replica VM: what is below it, nobody writes to. */
const OVERLAY: Base = {
  files: ['base', 'base.bitmap', 'below'],
  open: async (of) => {
    const below = await RawDisk.open(join(of, 'below'), { readOnly: true });
    const base = await OverlayDisk.create(join(of, 'base'), below, { blockSize: BLOCK });
    const close = base.close.bind(base);
    base.close = async () => {
      await close();
      await below.close();
    };
    return base;
  },
};

test.for([
  ...[1, 2, 3, 4, 5, 6].map((seed) => ['a file', seed, FILE] as const),
  ...[1, 2, 3].map((seed) => ['an overlay', seed, OVERLAY] as const),
])(
  'after a power cut a flushed write is there, and no sector is anyone else’s: above %s (seed %i)',
  { timeout: 120_000 },
  async ([, seed, kind]) => {
    const roll = dice(seed * 7919);
    const files = [...kind.files, 'overlay', 'overlay.bitmap'];
    const initial = Buffer.alloc(SIZE);
    for (let sector = 0; sector < SECTORS; sector += 1)
      initial.fill(200 + (sector % 50), sector * 512, sector * 512 + 512);
    await writeFile(join(folder, kind.files.at(-1)!), initial);
    const base = await kind.open(folder);
    const disk = await OverlayDisk.create(join(folder, 'overlay'), base, { blockSize: BLOCK });
    await mkdir(join(folder, 'before'));
    for (const name of files) await copyFile(join(folder, name), join(folder, 'before', name));

    journal.events.length = 0;
    journal.on = true;
    const events = journal.events as Event[];
    const writes: Action[] = [];
    const flushes: Action[] = [];
    let value = 0;
    const act = async (list: Action[], action: Omit<Action, 'from' | 'to'>, run: () => Promise<unknown>) => {
      const entry: Action = { ...action, from: events.length, to: Infinity };
      list.push(entry);
      await run();
      entry.to = events.length;
    };
    const change = async () => {
      const first = roll(SECTORS);
      const count = Math.min(1 + roll(7), SECTORS - first);
      const zero = roll(5) === 0;
      value = (value + 1) % 190;
      const range = { offset: first * 512, length: count * 512 };
      await act(writes, { write: { first, count, value: zero ? 0 : value } }, () =>
        zero ? disk.writeZeroes(range) : disk.write(Buffer.alloc(range.length, value), range.offset),
      );
    };
    const flush = () => act(flushes, {}, () => disk.flush());
    for (let i = 0; i < 12; i += 1) await (roll(3) === 0 ? flush() : change());
    await disk.beginMerge();
    for (let left = 1; left > 0;) {
      const merging = disk.mergeStep(BLOCK * (1 + roll(2)));
      for (let i = roll(3); i > 0; i -= 1) await (roll(3) === 0 ? flush() : change());
      left = await merging;
    }
    journal.on = false;
    await disk.close();
    await base.close();

    const remains = join(folder, 'remains');
    await mkdir(remains);
    for (let instant = 0; instant <= events.length; instant += 1) {
      await makeRemains(remains, files, events, instant, roll);
      const leftBase = await kind.open(remains);
      const left = await OverlayDisk.open(join(remains, 'overlay'), leftBase);
      const content = await contentOf(left);
      const flushed = flushes.filter((action) => action.to <= instant).at(-1)?.from ?? 0;
      for (let sector = 0; sector < SECTORS; sector += 1) {
        const covering = writes.filter(
          ({ write, from }) => from < instant && write!.first <= sector && sector < write!.first + write!.count,
        );
        const certain = covering.filter((action) => action.to <= flushed);
        const allowed = [
          certain.at(-1)?.write!.value ?? initial[sector * 512]!,
          ...covering.slice(certain.length).map(({ write }) => write!.value),
        ];
        const found = content.subarray(sector * 512, sector * 512 + 512);
        const where = `sector ${sector} when power went at event ${instant} of ${events.length}`;
        expect(allowed, where).toContain(found[0]);
        expect(found.equals(Buffer.alloc(512, found[0])), where).toBe(true);
      }
      // And it can go on: what is merged is what was seen.
      await left.beginMerge();
      while ((await left.mergeStep(SIZE)) > 0);
      await left.remove();
      expect((await contentOf(leftBase)).equals(content)).toBe(true);
      await leftBase.close();
      for (const name of kind.files) await rm(join(remains, name));
    }
  },
);
