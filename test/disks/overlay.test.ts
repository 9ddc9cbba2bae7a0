import { mkdtemp, rm, stat, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import type { ReadableDisk, VirtualDisk } from '../../disks/disk.js';
import { OverlayDisk } from '../../disks/overlay.js';
import { end } from '../../domain/ranges.js';
import type * as positionalIo from '../../disks/positional-io.js';
import { RawDisk } from '../../disks/raw.js';

/** Lets a test hold back the reads that begin while it is set. */
const readGate = vi.hoisted(() => ({ before: undefined as Promise<void> | undefined }));
vi.mock('../../disks/positional-io.js', async (original) => {
  const real = await original<typeof positionalIo>();
  const readAt: typeof real.readAt = (...args) => {
    const gate = readGate.before;
    return gate ? gate.then(() => real.readAt(...args)) : real.readAt(...args);
  };
  return { ...real, readAt };
});

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'farshore-overlay-'));
});
afterEach(() => rm(folder, { recursive: true }));

const BLOCK = 4096;
/** The last block is cut off. */
const SIZE = 40 * BLOCK + 1536;

async function createBase(path: string, content: Buffer): Promise<RawDisk> {
  await writeFile(path, '');
  await truncate(path, content.length);
  const base = await RawDisk.open(path);
  await base.write(content, 0);
  return base;
}

async function contentOf(disk: ReadableDisk): Promise<Buffer> {
  const content = Buffer.alloc(disk.size, 0xee);
  await disk.read(content, 0);
  return content;
}

const place = fc
  .tuple(fc.nat(SIZE / 512 - 1), fc.integer({ min: 1, max: 60 }))
  .map(([sector, sectors]) => ({ offset: sector * 512, length: Math.min(sectors * 512, SIZE - sector * 512) }));
const change = fc.record({ range: place, fill: fc.nat(255), zero: fc.boolean() });
type Change = typeof change extends fc.Arbitrary<infer T> ? T : never;

const step = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      do: fc.constant('change' as const),
      changes: fc.array(change, { minLength: 1, maxLength: 6 }),
    }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('beginMerge' as const) }) },
  {
    weight: 3,
    arbitrary: fc.record({
      do: fc.constant('merge' as const),
      bytes: fc.nat(12 * BLOCK),
      changes: fc.array(change, { maxLength: 3 }),
    }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('flush' as const) }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('reopen' as const), close: fc.boolean() }) },
);

/** In-flight changes never overlap: whoever is above the disk sees to that. */
function withoutOverlaps(changes: readonly Change[]): Change[] {
  const kept: Change[] = [];
  for (const next of changes) {
    const clear = kept.every(
      ({ range }) =>
        range.offset + range.length <= next.range.offset || next.range.offset + next.range.length <= range.offset,
    );
    if (clear) kept.push(next);
  }
  return kept;
}

function apply(disk: VirtualDisk, model: Buffer, { range, fill, zero }: Change): Promise<void> {
  model.fill(zero ? 0 : fill, range.offset, range.offset + range.length);
  return zero ? disk.writeZeroes(range) : disk.write(Buffer.alloc(range.length, fill), range.offset);
}

interface BaseUnderTest {
  readonly base: VirtualDisk;
  /** As after a kill: nothing was closed. */
  reopen(): Promise<VirtualDisk>;
  /** Once it has been merged into. */
  check?(model: Buffer): Promise<void>;
  close(): Promise<void>;
}

async function fileAsBase(path: string, content: Buffer): Promise<BaseUnderTest> {
  const opened = [await createBase(path, content)];
  const reopen = async () => {
    opened.push(await RawDisk.open(path));
    return opened.at(-1)!;
  };
  return { base: opened[0]!, reopen, close: async () => void (await Promise.all(opened.map((disk) => disk.close()))) };
}

/** Half of the content is in the overlay; its blocks are larger than those of the one above it. */
async function overlayAsBase(path: string, content: Buffer): Promise<BaseUnderTest> {
  const below = Buffer.from(content);
  for (let offset = 0; offset < SIZE; offset += 6 * BLOCK) below.fill(0xdd, offset, offset + 2 * BLOCK);
  const file = await createBase(`${path}-below`, below);
  const opened = [await OverlayDisk.create(path, file, { blockSize: 2 * BLOCK })];
  for (let offset = 0; offset < SIZE; offset += 6 * BLOCK) {
    await opened[0]!.write(content.subarray(offset, offset + 2 * BLOCK), offset);
  }
  const whole = { offset: 0, length: SIZE };
  return {
    base: opened[0]!,
    reopen: async () => {
      opened.push(await OverlayDisk.open(path, file));
      return opened.at(-1)!;
    },
    check: async (model) => {
      const plain = Buffer.from(below);
      const own = opened.at(-1)!.ownRanges(whole);
      for (const range of own) await opened.at(-1)!.read(plain.subarray(range.offset, end(range)), range.offset);
      expect(plain.equals(model)).toBe(true);
      expect((await contentOf(file)).equals(below)).toBe(true);
      // As another process reads it.
      const other = await OverlayDisk.open(path, file, { readOnly: true });
      expect(other.ownRanges(whole)).toEqual(own);
      expect((await contentOf(other)).equals(model)).toBe(true);
      await expect(other.write(Buffer.alloc(512, 1), 0)).rejects.toThrow();
      await other.close();
    },
    close: async () => void (await Promise.all([...opened, file].map((disk) => disk.close()))),
  };
}

test.for([
  ['a file', fileAsBase],
  ['an overlay', overlayAsBase],
] as const)(
  'above %s it is what was written, merged, flushed, left unclosed and opened again or not',
  { timeout: 60_000 },
  async ([, makeBase]) => {
    let run = 0;
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 14 }), async (steps) => {
        run += 1;
        const basePath = join(folder, `base-${run}`);
        const path = join(folder, `overlay-${run}`);
        const original = Buffer.alloc(SIZE);
        for (let sector = 0; sector < SIZE / 512; sector += 1)
          original.fill(sector % 251, sector * 512, sector * 512 + 512);
        const model = Buffer.from(original);
        const under = await makeBase(basePath, original);
        let { base } = under;
        let disk = await OverlayDisk.create(path, base, { blockSize: BLOCK });
        const abandoned: (() => Promise<void>)[] = [];
        for (const action of steps) {
          if (action.do === 'change')
            await Promise.all(withoutOverlaps(action.changes).map((c) => apply(disk, model, c)));
          if (action.do === 'beginMerge') await disk.beginMerge();
          if (action.do === 'merge' && disk.merging) {
            await Promise.all([
              disk.mergeStep(action.bytes),
              contentOf(disk),
              ...withoutOverlaps(action.changes).map((c) => apply(disk, model, c)),
            ]);
          }
          if (action.do === 'flush') await disk.flush();
          if (action.do === 'reopen') {
            const { merging, overlayBytes } = disk;
            // A killed process closes nothing; what it has written is in the page cache.
            if (action.close) await disk.close();
            else abandoned.push(disk.close.bind(disk));
            base = await under.reopen();
            disk = await OverlayDisk.open(path, base);
            expect({ merging: disk.merging, overlayBytes: disk.overlayBytes }).toEqual({ merging, overlayBytes });
          }
          expect((await contentOf(disk)).equals(model)).toBe(true);
          if (!disk.merging) expect((await contentOf(base)).equals(original)).toBe(true);
        }
        const mayHoldData = Buffer.alloc(SIZE);
        for (const { offset, length } of await disk.dataRanges({ offset: 0, length: SIZE })) {
          model.copy(mayHoldData, offset, offset, offset + length);
        }
        expect(mayHoldData.equals(model)).toBe(true);

        await disk.beginMerge();
        while ((await disk.mergeStep(3 * BLOCK)) > 0);
        await disk.remove();
        expect((await contentOf(base)).equals(model)).toBe(true);
        await expect(stat(path)).rejects.toMatchObject({ code: 'ENOENT' });
        await under.check?.(model);
        for (const close of abandoned) await close();
        await under.close();
      }),
      { numRuns: 60 },
    );
  },
);

describe('special cases', () => {
  const original = Buffer.alloc(SIZE, 0x11);
  const paths = () => ({ base: join(folder, 'base'), overlay: join(folder, 'overlay') });

  test('parallel writes to one block all arrive', async () => {
    const base = await createBase(paths().base, original);
    const disk = await OverlayDisk.create(paths().overlay, base, { blockSize: BLOCK });
    await Promise.all([...Array(8).keys()].map((i) => disk.write(Buffer.alloc(512, i + 1), i * 512)));
    const content = await contentOf(disk);
    for (let i = 0; i < 8; i += 1) expect(content[i * 512 + 100]).toBe(i + 1);
    expect(content[8 * 512]).toBe(0x11);
    await disk.close();
    await base.close();
  });

  test('a read that is overtaken by the merge of its block sees no hole', async () => {
    const base = await createBase(paths().base, original);
    const disk = await OverlayDisk.create(paths().overlay, base, { blockSize: BLOCK });
    await disk.write(Buffer.alloc(2 * BLOCK, 0x22), BLOCK);
    await disk.beginMerge();
    // The read has decided to look into the overlay, and is held there until the block is gone from it.
    let goOn!: () => void;
    readGate.before = new Promise<void>((resolve) => {
      goOn = resolve;
    });
    const content = Buffer.alloc(3 * BLOCK);
    const reading = disk.read(content, BLOCK);
    readGate.before = undefined;
    while ((await disk.mergeStep(BLOCK)) > 0);
    expect((await stat(paths().overlay)).blocks).toBe(0);
    goOn();
    await reading;
    expect(content.equals(Buffer.concat([Buffer.alloc(2 * BLOCK, 0x22), Buffer.alloc(BLOCK, 0x11)]))).toBe(true);
    await disk.remove();
    await base.close();
  });

  test('works above a read-only base, but does not merge into it', async () => {
    await (await createBase(paths().base, original)).close();
    const raw = await RawDisk.open(paths().base, { readOnly: true });
    const base: ReadableDisk = {
      size: raw.size,
      read: (target, offset) => raw.read(target, offset),
      dataRanges: (range) => raw.dataRanges(range),
      close: () => raw.close(),
    };
    const disk = await OverlayDisk.create(paths().overlay, base, { blockSize: BLOCK });
    await disk.write(Buffer.alloc(512, 9), 512);
    await disk.flush();
    expect((await contentOf(disk))[512]).toBe(9);
    await expect(disk.beginMerge()).rejects.toThrow('can only be read');
    await disk.close();
    await base.close();
  });

  test('reports the space that a change takes: in this overlay, or in an overlay below once it goes there', async () => {
    const file = await createBase(paths().base, original);
    const below = await OverlayDisk.create(`${paths().overlay}-below`, file, { blockSize: BLOCK });
    await below.write(Buffer.alloc(512, 1), 0);
    const disk = await OverlayDisk.create(paths().overlay, below, { blockSize: BLOCK });
    const two = { offset: 512, length: BLOCK };
    expect([disk.growthOf(two), below.growthOf(two)]).toEqual([2 * BLOCK, BLOCK]);
    await disk.write(Buffer.alloc(512, 2), 0);
    expect(disk.growthOf(two)).toBe(BLOCK);
    await disk.beginMerge();
    expect(disk.growthOf(two)).toBe(BLOCK);
    await disk.write(Buffer.alloc(BLOCK, 3), BLOCK);
    expect([disk.growthOf(two), below.ownRanges({ offset: 0, length: SIZE })]).toEqual([
      0,
      [{ offset: 0, length: 2 * BLOCK }],
    ]);
    for (const each of [disk, below, file]) await each.close();
  });

  test('a block that was never complete in the overlay is read from the base', async () => {
    const base = await createBase(paths().base, original);
    const disk = await OverlayDisk.create(paths().overlay, base, { blockSize: BLOCK });
    await disk.close();
    // What a killed process leaves when it dies between writing the block and setting its bit.
    const data = await RawDisk.open(paths().overlay);
    await data.write(Buffer.alloc(BLOCK, 0x66), 0);
    await data.close();
    const again = await OverlayDisk.open(paths().overlay, base);
    expect((await contentOf(again)).equals(original)).toBe(true);
    await again.writeZeroes({ offset: 512, length: 512 });
    const expected = Buffer.from(original).fill(0, 512, 1024);
    expect((await contentOf(again)).equals(expected)).toBe(true);
    await again.close();
    await base.close();
  });

  test('is not opened if it is missing, incomplete, or of another disk', async () => {
    const base = await createBase(paths().base, original);
    await expect(OverlayDisk.open(paths().overlay, base)).rejects.toMatchObject({ code: 'DiskMissing' });
    const disk = await OverlayDisk.create(paths().overlay, base, { blockSize: BLOCK });
    await disk.write(Buffer.alloc(512, 9), 512);
    await disk.close();

    const other = await createBase(join(folder, 'other'), Buffer.alloc(SIZE * 2));
    await expect(OverlayDisk.open(paths().overlay, other)).rejects.toMatchObject({ code: 'BrokenChain' });
    await other.close();

    const bitmap = `${paths().overlay}.bitmap`;
    await rm(paths().overlay);
    await expect(OverlayDisk.open(paths().overlay, base)).rejects.toMatchObject({ code: 'DiskMissing' });
    await rm(bitmap);
    await writeFile(paths().overlay, Buffer.alloc(8192, 1));
    await expect(OverlayDisk.create(paths().overlay, base)).rejects.toMatchObject({ code: 'BrokenChain' });
    await base.close();
  });

  test('a removal that was interrupted can be repeated; it is refused while blocks are left', async () => {
    const base = await createBase(paths().base, original);
    const disk = await OverlayDisk.create(paths().overlay, base, { blockSize: BLOCK });
    await disk.write(Buffer.alloc(512, 9), 512);
    await disk.beginMerge();
    await expect(disk.remove()).rejects.toMatchObject({ code: 'MergeUnfinished' });
    expect(await disk.mergeStep(SIZE)).toBe(0);
    await disk.close();
    await rm(paths().overlay);
    const again = await OverlayDisk.open(paths().overlay, base);
    expect(again.merging).toBe(true);
    expect(await again.mergeStep(SIZE)).toBe(0);
    await again.remove();
    await expect(stat(`${paths().overlay}.bitmap`)).rejects.toMatchObject({ code: 'ENOENT' });
    expect((await contentOf(base))[600]).toBe(9);
    await base.close();
  });
});
