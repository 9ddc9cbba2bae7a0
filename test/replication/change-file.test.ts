import { blake3 } from '@napi-rs/blake-hash';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { end, mergeRanges, type Range } from '../../domain/ranges.js';
import { decodeFooter, FOOTER_BYTES, MAX_ROW_DATA, ROW_BYTES } from '../../replication/change-file.js';
import { BATCH_BYTES, ChangeFileReader } from '../../replication/change-file-reader.js';
import { ChangeFileWriter } from '../../replication/change-file-writer.js';
import { planParts } from '../../replication/change-parts.js';
import { PieceCursor } from '../../replication/change-pieces.js';
import type { ChangeRange, DiskChanges } from '../../ports/change-source.js';
import { inBatches } from '../support/change-sets.js';
import { KiB, MiB, pattern } from './model.js';

const identity = { vm: 'db-01', disk: 'os', epoch: 3, sequence: 70_000, diskSize: 6 * 2 ** 40 };

/** Writes all of it into one file. */
async function writerOf(of: typeof identity, { ranges, read }: DiskChanges): Promise<ChangeFileWriter> {
  const [part = { rows: 0, payload: 0, longest: 1 }] = await planParts(ranges, of.diskSize, {
    payload: Infinity,
    rows: Infinity,
  });
  return new ChangeFileWriter(of, part, new PieceCursor(ranges).take(Infinity), read);
}

async function writeFile(changes: DiskChanges, of = identity): Promise<{ file: Buffer; digest: string }> {
  const writer = await writerOf(of, changes);
  const chunks: Buffer[] = [];
  for await (const chunk of writer.chunks()) chunks.push(Buffer.from(chunk));
  const file = Buffer.concat(chunks);
  const { length, digest } = writer.written();
  expect(file.length).toBe(length);
  return { file, digest };
}

const readerOf = (file: Buffer) => ({
  read: async (_name: string, offset: number, length: number) => Buffer.from(file.subarray(offset, offset + length)),
  readInto: async (_name: string, offset: number, target: Buffer) => void file.copy(target, 0, offset),
});

async function readBack(file: Buffer, of = identity) {
  const reader = await ChangeFileReader.open(readerOf(file), 'file', of, file.length);
  const writes = [];
  for await (const batch of reader.batches()) writes.push(...(await reader.load(batch, Buffer.alloc(BATCH_BYTES))));
  return writes;
}

/** Depends on where it is in its range alone. */
const contentOf = (range: ChangeRange, part: Range = range): Buffer =>
  pattern(range.length, range.position).subarray(part.offset - range.offset, end(part) - range.offset);
const changesOf = (ranges: ChangeRange[]): DiskChanges => ({
  name: 'os',
  ranges: inBatches(ranges),
  read: async (range, part) => contentOf(range, part),
});

describe('change file', () => {
  test('the layout is as documented, byte for byte', async () => {
    const { file, digest } = await writeFile(
      changesOf([
        { offset: 512, length: 512, zero: false, position: 1 },
        { offset: 5 * 2 ** 40, length: 2 ** 40, zero: true, position: 0 },
      ]),
    );
    expect(file.length).toBe(512 + 2 * 20 + 512);
    const footer = file.subarray(512 + 2 * 20);
    expect(footer.toString('latin1', 0, 8)).toBe('FARCHNG1');
    expect([8, 12].map((at) => footer.readUInt32LE(at))).toEqual([512, 20]);
    expect([16, 24, 32, 40, 48].map((at) => Number(footer.readBigUInt64LE(at)))).toEqual([
      3,
      70_000,
      6 * 2 ** 40,
      2,
      512,
    ]);
    expect(footer.subarray(56, 62)).toEqual(Buffer.from('\u0005db-01'));
    expect(footer.subarray(120, 123)).toEqual(Buffer.from('\u0002os'));
    expect(file.subarray(0, 512).equals(pattern(512, 1))).toBe(true);
    expect([512, 520, 532, 540].map((at) => Number(file.readBigUInt64LE(at)))).toEqual([
      512,
      512,
      5 * 2 ** 40,
      2 ** 40 + 1,
    ]);
    expect(blake3(file).toString('hex')).toBe(digest);
  });

  test('the content is read as it was written, and the same changes give the same file', async () => {
    // Sectors; forty of them end within the disk of 6 TiB.
    const gap = fc.integer({ min: 0, max: 2 ** 28 });
    const length = fc.oneof(fc.integer({ min: 1, max: 64 }), fc.constantFrom(8191, 8192, 8193, 20_000));
    const shape = fc.array(fc.record({ gap, length, zero: fc.boolean() }), { maxLength: 40 });
    await fc.assert(
      fc.asyncProperty(shape, async (parts) => {
        let at = 0;
        const ranges = parts.map((part, index) => {
          const range = { offset: at + part.gap * 512, length: part.length * 512, zero: part.zero, position: index };
          at = end(range);
          return range;
        });
        const { file, digest } = await writeFile(changesOf(ranges));
        expect((await writeFile(changesOf(ranges))).digest).toBe(digest);
        const expected = ranges.map((range) => ({ ...range, content: range.zero ? undefined : contentOf(range) }));
        const found = expected.map(({ offset }) => ({ offset, pieces: [] as Buffer[], cleared: 0 }));
        for (const write of await readBack(file)) {
          const target = found.findLast(({ offset }) => offset <= write.offset)!;
          if ('data' in write) target.pieces.push(write.data);
          else target.cleared += write.clear;
        }
        for (const [index, { content, length: bytes }] of expected.entries()) {
          const { pieces, cleared } = found[index]!;
          expect(cleared).toBe(content ? 0 : bytes);
          if (content) expect(Buffer.concat(pieces).equals(content)).toBe(true);
        }
      }),
      { numRuns: 40 },
    );
  });

  test('a million small ranges are written and read in batches of bounded size', async () => {
    const count = 1_000_000;
    const data = pattern(4 * KiB, 1);
    const ranges = Array.from({ length: count }, (_, index) => {
      return { offset: index * 8 * KiB, length: 4 * KiB, zero: index % 50 !== 0, position: 0 };
    });
    const { file } = await writeFile({ name: 'os', ranges: inBatches(ranges, 1024), read: async () => data });
    expect(file.length).toBe(FOOTER_BYTES + (count / 50) * 4 * KiB + count * ROW_BYTES);
    const reader = await ChangeFileReader.open(readerOf(file), 'file', identity, file.length);
    let rows = 0;
    for await (const batch of reader.batches()) {
      rows += batch.rows.length;
      expect(batch.content.length).toBeLessThanOrEqual(MAX_ROW_DATA);
      expect(batch.rows.length).toBeLessThanOrEqual(4096);
    }
    expect(rows).toBe(count);
  });

  test('no more content is read ahead than the limit, in pieces, however long the ranges are', async () => {
    const ranges = [
      { offset: 0, length: 64 * MiB, zero: false, position: 0 },
      { offset: 65 * MiB, length: 64 * MiB + 512, zero: false, position: 0 },
    ];
    const data = Buffer.alloc(MAX_ROW_DATA, 1);
    const asked: Range[] = [];
    let held = 0;
    let most = 0;
    const read = async (_: ChangeRange, part: Range) => {
      asked.push(part);
      held += 1;
      most = Math.max(most, held);
      await new Promise((resolve) => setImmediate(resolve));
      return data.subarray(0, part.length);
    };
    const writer = await writerOf(identity, { name: 'os', ranges: inBatches(ranges), read });
    let written = 0;
    for await (const chunk of writer.chunks()) {
      written += chunk.length;
      held -= chunk.length === MAX_ROW_DATA ? 1 : 0;
    }
    expect(written).toBe(writer.written().length);
    expect(most).toBeLessThanOrEqual(4);
    expect(mergeRanges(asked)).toEqual(ranges.map(({ offset, length }) => ({ offset, length })));
    expect(Math.max(...asked.map(({ length }) => length))).toBe(MAX_ROW_DATA);
  });

  test.each([
    [
      'unsorted',
      [
        { offset: 1024, length: 512 },
        { offset: 0, length: 512 },
      ],
    ],
    [
      'overlapping',
      [
        { offset: 0, length: 1024 },
        { offset: 512, length: 512 },
      ],
    ],
    ['empty', [{ offset: 0, length: 0 }]],
    ['unaligned', [{ offset: 100, length: 512 }]],
    ['of half a sector', [{ offset: 0, length: 100 }]],
    ['behind the disk', [{ offset: 6 * 2 ** 40, length: 512 }]],
    ['before the disk', [{ offset: -512, length: 512 }]],
  ])('ranges that are %s are refused', async (_name, ranges) => {
    const changes = changesOf(ranges.map((range) => ({ ...range, zero: false, position: 0 })));
    await expect(writerOf(identity, changes)).rejects.toMatchObject({ code: 'LogBroken' });
  });

  test('content whose length differs from its range is refused', async () => {
    const changes: DiskChanges = {
      name: 'os',
      ranges: inBatches([{ offset: 0, length: 1024, zero: false, position: 0 }]),
      read: async () => Buffer.alloc(512),
    };
    await expect(writeFile(changes)).rejects.toMatchObject({ code: 'LogBroken' });
  });

  test('a piece that a source reports as data but is all zeroes is sent as zeroes', async () => {
    const length = 3 * MAX_ROW_DATA;
    const content = Buffer.alloc(length);
    // The first piece ends with one byte that is not zero, the last begins with one.
    content[MAX_ROW_DATA - 1] = 1;
    content[2 * MAX_ROW_DATA] = 2;
    const { file } = await writeFile({
      name: 'os',
      ranges: inBatches([{ offset: 1024, length, zero: false, position: 0 }]),
      read: async (_, part) => content.subarray(part.offset - 1024, end(part) - 1024),
    });
    expect(file.length).toBe(2 * MAX_ROW_DATA + 3 * ROW_BYTES + FOOTER_BYTES);
    const writes = await readBack(file);
    expect(writes.map((write) => ('data' in write ? write.data.length : -write.clear))).toEqual([
      MAX_ROW_DATA,
      -MAX_ROW_DATA,
      MAX_ROW_DATA,
    ]);
    const back = Buffer.alloc(length, 0xff);
    for (const write of writes) {
      if ('data' in write) write.data.copy(back, write.offset - 1024);
      else back.fill(0, write.offset - 1024, write.offset - 1024 + write.clear);
    }
    expect(back.equals(content)).toBe(true);
  });

  test.each([
    ['fewer', 1],
    ['more', 3],
  ])('%s ranges than were planned are refused', async (_, count) => {
    const ranges = Array.from({ length: 3 }, (_each, index) => {
      return { offset: index * 1024, length: 512, zero: false, position: index };
    });
    const planned = await planParts(inBatches(ranges.slice(0, 2)), 4096, { payload: Infinity, rows: Infinity });
    const { read } = changesOf(ranges);
    const writer = new ChangeFileWriter(
      identity,
      planned[0]!,
      new PieceCursor(inBatches(ranges.slice(0, count))).take(Infinity),
      read,
    );
    const all = async () => {
      for await (const chunk of writer.chunks()) void chunk;
    };
    await expect(all()).rejects.toMatchObject({ code: 'LogBroken' });
  });

  test('a flipped bit is found anywhere even without the digest, except in the padding', async () => {
    const { file } = await writeFile(
      changesOf([
        { offset: 0, length: 1024, zero: false, position: 1 },
        { offset: 4096, length: 512, zero: true, position: 0 },
        { offset: 8192, length: 512, zero: false, position: 2 },
      ]),
      { ...identity, diskSize: 16_384 },
    );
    const intact = JSON.stringify(await readBack(file, { ...identity, diskSize: 16_384 }));
    const unnoticed: number[] = [];
    for (let at = 0; at < file.length; at += 1) {
      const damaged = Buffer.from(file);
      damaged[at]! ^= 1 << (at % 8);
      try {
        const back = JSON.stringify(await readBack(damaged, { ...identity, diskSize: 16_384 }));
        unnoticed.push(at);
        expect(back === intact || (at >= 1536 && at < 1536 + 3 * ROW_BYTES)).toBe(true);
      } catch (error) {
        expect(error).toMatchObject({ code: 'LogBroken' });
      }
    }
    // Offsets in rows and the unused checksum of zeroes are proven by the manifest's digest alone.
    expect(unnoticed.every((at) => at >= 1536 && at < 1536 + 3 * ROW_BYTES)).toBe(true);
  });

  test.each(['vm', 'disk', 'epoch', 'sequence', 'diskSize'] as const)(
    'a file of another %s is refused',
    async (key) => {
      const { file } = await writeFile(changesOf([{ offset: 0, length: 512, zero: false, position: 0 }]));
      const other = {
        ...identity,
        [key]: typeof identity[key] === 'number' ? (identity[key] as number) + 512 : 'other',
      };
      await expect(readBack(file, other)).rejects.toMatchObject({
        code: 'LogBroken',
        detail: expect.stringContaining(key),
      });
    },
  );

  test('a truncated or extended file is refused', async () => {
    const { file } = await writeFile(changesOf([{ offset: 0, length: 512, zero: false, position: 0 }]));
    await expect(readBack(file.subarray(20))).rejects.toMatchObject({ code: 'LogBroken' });
    await expect(readBack(file.subarray(0, file.length - 20))).rejects.toMatchObject({ code: 'LogBroken' });
    await expect(readBack(Buffer.concat([file, Buffer.alloc(20)]))).rejects.toMatchObject({ code: 'LogBroken' });
    expect(() => decodeFooter(file.subarray(0, 100))).toThrow(expect.objectContaining({ code: 'LogBroken' }));
  });
});
